"""The model that is shipped: its size, its description, and commands that take it by default."""

import json

import pytest

from jukejax.common import files
from jukejax.weights import bundle, loading
from jukejax.weights.shipped import FOLDER
from tests.integration.test_configs import load
from tests.support.command import ROOT, run_in_process

LARGEST = 24_000_000  # bytes


def test_the_bundle_is_small_and_says_what_it_is():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) <= LARGEST
    facts = bundle.open_bundle(FOLDER)
    assert facts["license"] == "Apache-2.0"
    assert (facts["hops"], facts["levels"]) == ([8, 32, 128], [0, 1, 2])
    assert "seed" in facts["recipe"]
    assert len(facts["vocabulary"]["artists"]) == 9  # eight and "unknown"
    card = (FOLDER / "MODEL_CARD.md").read_text()
    assert "Apache-2.0" in card
    assert "audit" in card


@pytest.mark.parametrize("name", ["vqvae", "level_0", "level_1", "level_2"])
def test_its_recipe_is_that_of_the_configs(name):
    """What a config leaves out may be there: names of labels, sizes of the VQ-VAE."""
    stage = {"vqvae": "vqvae", "level_2": "prior"}.get(name, f"upsampler{name[-1]}")
    shipped = loading.load_model(FOLDER, name)[0]["config"]
    expected = json.loads(json.dumps(load("house_small", stage).model.to_dict()))
    _check_contains(shipped, expected, name)


def _check_contains(shipped, expected, where):
    for key, value in expected.items():
        if isinstance(value, dict):
            _check_contains(shipped[key], value, f"{where}.{key}")
        else:
            assert shipped[key] == value, f"{where}.{key}"


def test_tracks_are_sampled_without_a_model_flag(tmp_path):
    run_in_process(
        "sample", "--bpm=122", "--key=Am", "--seconds=1.5", "--levels=2", f"--output={tmp_path}/out"
    )
    meta = files.read_json(tmp_path / "out" / "item_000" / "meta.json")
    assert (meta["grid"]["bpm"], meta["grid"]["key"]) == (122, "A minor")
    assert meta["grid"]["sections"] == [["drop", 0.0]]


def test_the_recipe_recommends_the_settings_of_the_model():
    recommended = files.read_json(ROOT / "launch" / "house_sampling.json")
    assert bundle.open_bundle(FOLDER)["sampling"] == recommended


@pytest.mark.slow
def test_all_levels_are_sampled(tmp_path):
    run_in_process("sample", "--bpm=122", "--seconds=2", f"--output={tmp_path}/out")
    assert (tmp_path / "out" / "item_000" / "level_0.wav").exists()
