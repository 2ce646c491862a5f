"""Model bundles: exact round trips, and errors that name the damaged file."""

import json

import numpy as np
import pytest

from jukejax.weights import bundle
from tests.support.small_bundle import FACTS

WEIGHTS = {
    "params": {
        "a": {"kernel": np.array([[1.5, -0.0, np.nan], [np.inf, 1e-45, 3.0]], np.float32)},
        "b": np.arange(4, dtype=np.float16),
    },
    "extra": {"codebook": {"count": np.arange(3, dtype=np.int32)}},
}


def leaves(tree, path=()):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def test_a_part_comes_back_bit_for_bit(tmp_path):
    bundle.save_part(tmp_path / "level_2", {"kind": "prior", "level": 2}, WEIGHTS)
    description, weights = bundle.load_part(tmp_path / "level_2")
    assert description == {"kind": "prior", "level": 2}
    loaded, saved = dict(leaves(weights)), dict(leaves(WEIGHTS))
    assert loaded.keys() == saved.keys()
    for path, value in saved.items():
        assert loaded[path].dtype == value.dtype
        assert loaded[path].shape == value.shape
        assert loaded[path].tobytes() == value.tobytes()


def test_arrays_in_any_memory_order_keep_their_values(tmp_path):
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    bundle.save_part(tmp_path, {}, {"w": transposed})
    np.testing.assert_array_equal(bundle.load_part(tmp_path)[1]["w"], transposed)


def test_no_temporary_file_remains(tmp_path):
    bundle.save_part(tmp_path, {}, WEIGHTS)
    bundle.save_bundle(tmp_path, FACTS)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.json",
        "weights.safetensors",
    }


@pytest.mark.parametrize("size", [0, 4, 40, -1])
def test_a_truncated_weight_file_is_named(tmp_path, size):
    bundle.save_part(tmp_path, {}, WEIGHTS)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"weights.safetensors is damaged \(.*export the model"):
        bundle.load_part(tmp_path)


def test_a_text_file_for_weights_is_named(tmp_path):
    bundle.save_part(tmp_path, {}, WEIGHTS)
    (tmp_path / "weights.safetensors").write_text("these are not weights, whatever the name says")
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged"):
        bundle.load_part(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json"])
def test_a_missing_file_is_named(tmp_path, name):
    bundle.save_part(tmp_path, {}, WEIGHTS)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        bundle.load_part(tmp_path)


def test_a_folder_without_model_json_is_no_bundle(tmp_path):
    with pytest.raises(ValueError, match=r"is no model bundle .*make one with export"):
        bundle.open_bundle(tmp_path)


def test_bundles_of_another_format_are_refused(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="is of format 99, we read format 1"):
        bundle.open_bundle(tmp_path)


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "model.json").write_text('{"format": 1,')
    with pytest.raises(ValueError, match=r"model\.json is damaged"):
        bundle.open_bundle(tmp_path)


def test_model_json_holds_the_versions_of_its_writer(tmp_path):
    bundle.save_bundle(tmp_path, FACTS | {"licence": "mine"})
    description = bundle.open_bundle(tmp_path)
    assert description["levels"] == [0, 1, 2]
    assert description["licence"] == "mine"
    assert {"jukejax", "jax", "flax", "safetensors"} <= description["versions"].keys()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sample_rate", "44100", "model.json.sample_rate is '44100', not an integer"),
        ("sample_rate", 0, "model.json.sample_rate is 0, must be positive"),
        ("hops", None, "model.json.hops is None, not a list"),
        ("hops", [], "model.json.hops is [], not the samples of a code by level"),
        ("hops", [8, 12, 128], "model.json.hops has 12, no multiple of 8"),
        ("levels", [0, 3], "model.json.levels has 3, and the bundle has 3 levels"),
        ("levels", ["2"], "model.json.levels[0] is '2', not an integer"),
        ("vocabulary", [], "model.json.vocabulary is [], not an object"),
        ("license", 7, "model.json.license is 7, not text"),
        ("vqvae", "abc", "model.json.vqvae is 'abc', not an object"),
    ],
)
def test_a_wrong_field_of_model_json_is_named(tmp_path, name, value, message):
    bundle.save_bundle(tmp_path, FACTS | {name: value})
    with pytest.raises(ValueError, match=str(tmp_path)) as error:
        bundle.open_bundle(tmp_path)
    assert message in str(error.value)


def test_a_missing_field_of_model_json_is_named(tmp_path):
    bundle.save_bundle(tmp_path, {name: FACTS[name] for name in FACTS if name != "levels"})
    with pytest.raises(ValueError, match=r"model\.json lacks levels"):
        bundle.open_bundle(tmp_path)


def test_the_hash_changes_with_any_bit_and_any_name(tmp_path):
    hashes = set()
    for number, (name, value) in enumerate([("w", 1.0), ("w", 2.0), ("v", 1.0)]):
        folder = tmp_path / str(number)
        bundle.save_part(folder / "vqvae", {}, {name: np.float32([value])})
        hashes.add(bundle.hash_bundle(folder))
        assert bundle.hash_bundle(folder) == bundle.hash_bundle(folder)
    assert len(hashes) == 3
