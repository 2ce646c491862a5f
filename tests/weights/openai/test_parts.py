"""Tensors of a part under OpenAI's names."""

import pytest

from jukejax.weights.openai import parts
from tests.support import small_bundle


def test_tied_weights_that_differ_are_refused():
    config = small_bundle.configs()["level_0"]
    state = parts.part_state(config, small_bundle.random_weights(config))
    state["prior.x_out.weight"] = state["prior.x_out.weight"] + 1
    with pytest.raises(ValueError, match=r"prior.x_emb.weight and prior.x_out.weight differ"):
        parts.plan_part(config, state)


def test_conditioners_are_read_under_both_of_their_names():
    config = small_bundle.configs()["level_0"]
    state = parts.part_state(config, small_bundle.random_weights(config))
    other = {name.replace(".blocks.", ".model."): value for name, value in state.items()}
    assert other.keys() != state.keys()
    assert {leaf.name for leaf in parts.plan_part(config, other)} == {
        leaf.name for leaf in parts.plan_part(config, state)
    }
