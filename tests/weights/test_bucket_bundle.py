"""Bundles in a bucket are those of a folder."""

import jax
import numpy as np
from ml_collections import ConfigDict

from jukejax.common import storage
from jukejax.training import pretrained
from jukejax.weights import bundle, loading
from jukejax.weights.shipped import resolve_model
from tests.support import small_bundle
from tests.support.object_server import BUCKET, Fault

URL = f"s3://{BUCKET}/bundle"


def test_a_bundle_in_a_bucket_has_the_weights_of_its_folder(object_server, tmp_path):
    local = small_bundle.write(tmp_path / "bundle")
    for path in filter(lambda path: path.is_file(), local.rglob("*")):
        storage.upload(path, f"{URL}/{path.relative_to(local).as_posix()}")
    object_server.inject(*(Fault(kind, "GET", "safetensors$") for kind in ("503", "cut", "cut")))
    folder = resolve_model(URL)
    assert len(object_server.list_injected()) == 3
    assert bundle.open_bundle(folder) == bundle.open_bundle(local)
    assert bundle.hash_bundle(folder) == bundle.hash_bundle(local)
    for source in (URL, f"{URL}/level_2"):
        ours, theirs = (loading.load_model(path, "level_2") for path in (source, local))
        assert ours[0] == theirs[0]
        jax.tree.map(np.testing.assert_array_equal, ours[1], theirs[1])
    origin = pretrained.describe_origin(ConfigDict({"init_from": f"{URL}/level_2"}))["init_from"]
    assert origin["path"] == f"{URL}/level_2"
    assert origin["license"] == small_bundle.FACTS["license"]
