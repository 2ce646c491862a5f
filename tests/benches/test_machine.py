"""`doctor` as JSON and as lines, and the released models that fit a device."""

import json
from unittest import mock

import pytest

from jukejax.benches import machine
from jukejax.weights.openai import released
from tests.support.command import run, run_in_process


@pytest.fixture(
    scope="module",
    params=["two models in this process", pytest.param("all models", marks=pytest.mark.slow)],
)
def facts(request):
    if request.param == "all models":
        return json.loads(run("doctor", "--json").stdout)
    two = {name: released.MODELS[name] for name in ("1b_lyrics", "5b")}
    with mock.patch.object(released, "MODELS", two):
        return json.loads(run_in_process("doctor", "--json").stdout)


def test_doctor_describes_this_machine(facts):
    assert facts["dtype"] == "float32"
    assert [device["platform"] for device in facts["devices"]] == ["cpu"]
    assert facts["versions"]["jax"]
    assert {extra["extra"] for extra in facts["extras"]} >= {"tfds", "beam", "convert"}
    for name, is_usable in facts["compiled"].items():
        assert is_usable == (name not in facts["compiled_faults"])


def test_lines_name_every_model_and_the_state_of_the_kernels(facts):
    lines = "\n".join(machine.format_machine(facts))
    for model in facts["models"]:
        assert model["model"] in lines
    assert "computes in float32" in lines
    assert ("for training on CPUs: all built" in lines) == (not facts["compiled_faults"])


def test_model_needs_the_bytes_of_its_largest_part(facts):
    """Of 1b_lyrics upsamplers of 981 M parameters, in four bytes each 3.9 GB, and their caches."""
    sizes = {model["model"]: model["bytes"] for model in facts["models"]}
    assert 2 * 1.96e9 < sizes["1b_lyrics"] < 2 * 3e9
    assert sizes["5b"] > 4 * sizes["1b_lyrics"]


@pytest.mark.parametrize(("limit", "fits"), [(4e9, True), (2e9, False), (None, None)])
def test_model_fits_if_its_largest_part_does(monkeypatch, limit, fits):
    sizes = iter([1e9, 3e9, 2e9] * 10)
    monkeypatch.setattr(machine, "_count_prior_bytes", lambda config, dtype: next(sizes))
    row = next(row for row in machine.list_released_models("bfloat16", limit))
    assert row["bytes"] == 3e9
    assert row["fits"] is fits
