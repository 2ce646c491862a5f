"""`doctor` in words and as JSON, and what it says of models that fit and of those that do not."""

import json

import pytest

from jukejax import doctor
from tests.support.command import run


def test_it_says_what_is_here_in_words_and_as_json():
    found = json.loads(run("doctor", "--json").stdout)
    assert found["dtype"] == "float32"
    assert [device["platform"] for device in found["devices"]] == ["cpu"]
    assert found["versions"]["jax"]
    assert {extra["extra"] for extra in found["extras"]} >= {"tfds", "beam", "convert"}
    models = {model["model"]: model for model in found["models"]}
    assert models["5b"]["bytes"] > 4 * models["1b_lyrics"]["bytes"]
    said = run("doctor").stdout
    for name in models:
        assert name in said
    assert "computes in float32" in said
    for name, is_usable in found["compiled"].items():
        assert is_usable == (name not in found["compiled_faults"])
    assert ("for training on CPUs: all built" in said) == (not found["compiled_faults"])


@pytest.mark.parametrize(("limit", "fits"), [(4e9, True), (2e9, False), (None, None)])
def test_a_model_fits_if_its_largest_part_does(limit, fits):
    """Upsamplers of 981 M parameters, in two bytes each 2.0 GB, and their caches."""
    (found,) = (m for m in doctor.released_models("bfloat16", limit) if m["model"] == "1b_lyrics")
    assert 1.96e9 < found["bytes"] < 3e9
    assert found["fits"] is fits
