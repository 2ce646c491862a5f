"""Tensors of a part under OpenAI's names."""

import jax
import numpy as np
import pytest

from jukejax.weights.openai import parts
from tests.golden.kinds.parameters import load_vqvae
from tests.support import small_bundle


def test_the_round_trip_of_a_vqvae_is_exact():
    config = small_bundle.VQVAE
    weights = small_bundle.random_weights(config)
    state = parts.part_state(config, weights)
    params, codebook = load_vqvae(config, state)
    jax.tree.map(np.testing.assert_array_equal, params, weights["params"])
    jax.tree.map(np.testing.assert_array_equal, codebook, weights["extra"])
    again = parts.part_state(config, {"params": params, "extra": codebook})
    assert list(again) == list(state)
    for name, value in again.items():
        np.testing.assert_array_equal(value, state[name])


def test_damaged_checkpoints_name_the_tensor():
    config = small_bundle.VQVAE
    state = parts.part_state(config, small_bundle.random_weights(config))
    name = "decoders.1.level_blocks.0.model.1.1.weight"
    for damaged, message in [
        ({k: v for k, v in state.items() if k != name}, f"lacks the tensor {name}"),
        (state | {name: state[name][..., :-1]}, f"{name} has shape"),
        (state | {"encoders.9.weight": state[name]}, "encoders.9.weight, which this model does"),
    ]:
        with pytest.raises(ValueError, match=message):
            parts.plan_part(config, damaged)


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
