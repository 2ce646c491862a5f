"""Renaming tables: exact round trips, and errors that name the tensor."""

import jax
import numpy as np
import pytest

from jukejax.models.autoregressive import AutoregressiveConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.weights.mapping import Entry, build_state, build_tree
from jukejax.weights.openai import prior as openai_prior

ENTRIES = [
    Entry("emb.weight", ("embedding",)),
    Entry("conv.weight", ("conv", "kernel"), axes=(2, 1, 0)),
    Entry("layers.0.w", ("layers", "kernel"), layer=0),
    Entry("layers.1.w", ("layers", "kernel"), layer=1),
]
SHAPES = {
    "embedding": np.zeros((5, 3)),
    "conv": {"kernel": np.zeros((4, 3, 2))},
    "layers": {"kernel": np.zeros((2, 3, 6))},
}


def checkpoint():
    rng = np.random.default_rng(0)
    shapes = {
        "emb.weight": (5, 3),
        "conv.weight": (2, 3, 4),
        "layers.0.w": (3, 6),
        "layers.1.w": (3, 6),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_tensors_are_placed_transposed_and_stacked():
    state = checkpoint()
    tree = build_tree(ENTRIES, state, SHAPES)
    np.testing.assert_array_equal(tree["conv"]["kernel"], state["conv.weight"].transpose(2, 1, 0))
    np.testing.assert_array_equal(tree["layers"]["kernel"][1], state["layers.1.w"])


def test_the_round_trip_is_equal_to_the_byte():
    state = checkpoint()
    back = build_state(ENTRIES, build_tree(ENTRIES, state, SHAPES))
    assert back.keys() == state.keys()
    for name, value in state.items():
        assert back[name].tobytes() == value.tobytes()
        assert back[name].shape == value.shape


@pytest.mark.parametrize("name", checkpoint())
def test_a_missing_tensor_is_named(name):
    state = checkpoint()
    del state[name]
    with pytest.raises(ValueError, match=f"the checkpoint lacks the tensor {name}"):
        build_tree(ENTRIES, state, SHAPES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("emb.weight", r"\(5, 3\)"), ("conv.weight", r"\(2, 3, 4\)"), ("layers.1.w", r"\(3, 6\)")],
)
def test_a_misshapen_tensor_is_named_with_both_shapes(name, expected):
    """The expected shape is that of the checkpoint's own layout."""
    state = checkpoint()
    state[name] = np.zeros((*state[name].shape[:-1], 9), np.float32)
    shape = str(state[name].shape).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=f"tensor {name} has shape {shape}, expected {expected}"):
        build_tree(ENTRIES, state, SHAPES)


def test_a_tensor_that_the_model_does_not_have_is_named():
    state = checkpoint() | {"extra.weight": np.zeros(3)}
    with pytest.raises(ValueError, match=r"holds extra\.weight, which this model does not have"):
        build_tree(ENTRIES, state, SHAPES)


def test_half_precision_checkpoints_become_float32():
    state = {name: value.astype(np.float16) for name, value in checkpoint().items()}
    tree = build_tree(ENTRIES, state, SHAPES)
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("merged", [False, True])
def test_every_layer_of_a_released_pattern_has_its_own_names(merged):
    """5b_lyrics' order: self and cross layers count apart; tied output weights share a leaf."""
    stack = TransformerConfig(
        emb_dim=4, num_layers=79, num_heads=1, seq_len=8, num_blocks=2, attn_order=10, encoder_len=3
    )
    config = AutoregressiveConfig(7, stack, merged_decoder=merged)
    entries = list(openai_prior.autoregressive_entries(config))
    assert len({entry.name for entry in entries}) == len(entries)
    places = {(entry.path, entry.layer) for entry in entries}
    assert len(places) == len(entries) - (not merged)
    cross = {entry.layer for entry in entries if "cross_layers" in entry.path}
    assert cross == set(range(7))
    own = {entry.layer for entry in entries if "self_layers" in entry.path}
    assert own == set(range(72))
