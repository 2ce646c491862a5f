"""Files of buckets and of folders, for comparison."""

import json
from pathlib import Path

from jukejax.common import storage


def upload_folder(folder, url):
    """Copies a folder into a bucket."""
    for path in Path(folder).rglob("*"):
        if path.is_file():
            storage.upload(path, f"{url}/{path.relative_to(folder).as_posix()}")


def read_bucket(url):
    """Reads all objects under a path, by their path relative to it."""
    return {
        name: storage.read_range(entry.url, 0, entry.size)
        for name, entry in storage.list_objects(url).items()
    }


def read_folder(folder):
    """Reads all files of a folder, by their path relative to it."""
    paths = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def assert_same_files(ours, theirs, ignored=()):
    """Checks that two results of `read_bucket` or `read_folder` are equal, bit for bit.

    Args:
      ignored: names of fields of JSON objects that may differ: times and paths.
    """
    assert ours.keys() == theirs.keys()
    for name, content in ours.items():
        assert b"/copies/process-" not in content, name
        if name.endswith(".json"):
            objects = [strip_fields(json.loads(each), ignored) for each in (content, theirs[name])]
            assert objects[0] == objects[1], name
        else:
            assert content == theirs[name], name


def strip_fields(value, names):
    """Returns a JSON value without the fields of these names."""
    if isinstance(value, list):
        return [strip_fields(item, names) for item in value]
    if isinstance(value, dict):
        return {k: strip_fields(v, names) for k, v in value.items() if k not in names}
    return value
