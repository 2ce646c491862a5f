"""Configs in the layout of Hugging Face Transformers."""

import dataclasses
import json

import pytest

from jukejax.weights.huggingface import config
from tests.support import small_bundle


@pytest.mark.parametrize("lyrics", ["none", "single", "separate"])
def test_configs_survive_the_round_trip(lyrics):
    configs = small_bundle.configs(lyrics)
    exported = json.loads(json.dumps(config.export_configs(configs)))
    assert config.import_configs(exported) == configs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transformer": small_bundle.stack(attn_order=9)}, "has no attention pattern 9"),
        ({"level": 1}, "from the top level down"),
    ],
)
def test_what_transformers_cannot_hold_is_refused(changes, message):
    changed = dataclasses.replace(small_bundle.configs("none")["level_2"], **changes)
    configs = {"vqvae": small_bundle.VQVAE, f"level_{changed.level}": changed}
    with pytest.raises(ValueError, match=message):
        config.export_configs(configs)
