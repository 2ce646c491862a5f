"""A bucket for tests: gs://NAME/... is a folder on this machine, in the child processes too."""

import os
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

ROOT = "JUKEJAX_TEST_BUCKETS"  # environment variable: the folder that holds the buckets


class FolderBucket(LocalFileSystem):
    """What fsspec's local file system does, under the names of Google's."""

    protocol = ("gs", "gcs")

    def __init__(self, **options):
        super().__init__(auto_mkdir=True, **options)

    @classmethod
    def _strip_protocol(cls, path):
        name = str(path).removeprefix("gs://").removeprefix("gcs://")
        return name if name.startswith("/") else f"{os.environ[ROOT]}/{name}"


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process, and of its children, in which gs:// lies under `folder`."""
    plugin = folder / "plugin" / "bucket-1.dist-info"
    plugin.mkdir(parents=True)
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: bucket\nVersion: 1\n")
    entry_point = "gs = tests.support.bucket:FolderBucket"
    (plugin / "entry_points.txt").write_text(f"[fsspec.specs]\n{entry_point}\n")
    checkout = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([str(plugin.parent), checkout])
    return os.environ | {ROOT: str(folder), "PYTHONPATH": path}
