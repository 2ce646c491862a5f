"""Each attention kind against a dense reference with an explicit mask, and by gradient."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.block import Attention
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops.attention import xla as attention_xla
from jukejax.ops.attention.kinds import (
    AttentionKind,
    Grid,
    attend,
    attention_pattern,
    prime_length,
    visible_positions,
)

OWN_SEQUENCE = [kind for kind in AttentionKind if kind != AttentionKind.ENCODER_DECODER]
# rows, block_len, heads, head_dim, spread, prime_len
GRIDS = [(3, 5, 2, 3, 3, 7), (4, 1, 1, 2, 1, 2)]
visible = jax.jit(visible_positions, static_argnums=(0, 1, 2))


def zero_slots(kind, rows, block_len, spread):
    """Queries [T, Z] that also see a key and value of zeros, as in OpenAI's padding."""
    time = rows * block_len
    if kind == AttentionKind.PREVIOUS_BLOCK:
        return (np.arange(time) < block_len)[:, None]
    slots = {AttentionKind.SUMMARY: 1, AttentionKind.SUMMARY_SPREAD: spread}.get(kind, 0)
    return np.ones((time, slots), bool)


def dense_attention(q, k, v, mask):
    """softmax(q k / sqrt(D)) v under a mask [T, S + Z]; the last Z keys are zeros."""
    pad = ((0, 0), (0, mask.shape[1] - k.shape[1]), (0, 0), (0, 0))
    k, v = jnp.pad(k, pad), jnp.pad(v, pad)
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(q.shape[-1])
    scores = jnp.where(mask, scores, -jnp.inf)
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores, axis=-1), v)


def normal(*shape, seed=0):
    """Drawn by NumPy: nothing to compile."""
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def random_qkv(time, heads, head_dim, batch=2):
    return (normal(batch, time, heads, head_dim, seed=seed) for seed in range(3))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("kind", OWN_SEQUENCE, ids=lambda kind: kind.name)
def test_both_ways_to_attend_equal_dense_attention_with_a_mask(kind, grid):
    rows, block_len, heads, head_dim, spread, prime_len = grid
    time = rows * block_len
    window = Grid(rows, block_len, spread, prime_len)
    mask = np.concatenate(
        [visible(kind, time, window), zero_slots(kind, rows, block_len, spread)], axis=1
    )
    q, k, v = random_qkv(time, heads, head_dim)
    cotangent = normal(*q.shape, seed=3)

    def with_gradients(function, *qkv):
        out, pullback = jax.vjp(function, *qkv)
        return out, *pullback(cotangent)

    @jax.jit
    def both(*qkv):
        plain = with_gradients(lambda *x: attend(kind, *x, window)[0], *qkv)
        fast = with_gradients(lambda *x: attention_xla.attend(kind, *x, grid=window), *qkv)
        return plain, fast, with_gradients(lambda *x: dense_attention(*x, mask), *qkv)

    plain, fast, dense = both(q, k, v)
    for way in (plain, fast):
        for name, x, y in zip(("out", "grad q", "grad k", "grad v"), way, dense, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("kind", OWN_SEQUENCE, ids=lambda kind: kind.name)
def test_receptive_field_by_gradient_is_the_definition(kind):
    rows, block_len, spread, prime_len = 3, 4, 2, 5
    time = rows * block_len
    q, k, v = random_qkv(time, 2, 3, batch=1)
    weights = normal(*q.shape, seed=3)
    grid = Grid(rows, block_len, spread, prime_len)

    def outputs(v):
        return (attention_xla.attend(kind, q, k, v, grid=grid) * weights).sum(axis=(0, 2, 3))

    reach = np.abs(jax.jit(jax.jacrev(outputs))(v)).sum(axis=(1, 3, 4)) > 0
    np.testing.assert_array_equal(reach, visible(kind, time, grid))


@pytest.mark.parametrize("kind", OWN_SEQUENCE, ids=lambda kind: kind.name)
def test_a_layer_sees_what_its_kind_sees(kind):
    """Through projections and heads; a position's own input also moves its query."""
    config = TransformerConfig(
        emb_dim=8, num_layers=1, num_heads=2, seq_len=12, num_blocks=3, spread=2, lyric_len=4
    )
    layer = Attention(config, kind)
    x, weights = normal(1, 12, 8), normal(12, 8)

    def outputs(params, x):
        return (layer.apply(params, x)[0][0] * weights).sum(axis=-1)

    shapes = nn.meta.unbox(jax.eval_shape(layer.init, jax.random.key(0), x))
    params = jax.tree.map(lambda leaf: normal(*leaf.shape), shapes)
    reach = np.abs(jax.jit(jax.jacrev(outputs, argnums=1))(params, x)).sum(axis=(1, 3)) > 0
    expected = visible(kind, 12, config.grid)
    others = ~np.eye(12, dtype=bool)
    np.testing.assert_array_equal(reach[others], np.asarray(expected)[others])


@pytest.mark.parametrize("kind", OWN_SEQUENCE, ids=lambda kind: kind.name)
def test_without_a_mask_a_layer_also_sees_later_positions_of_its_kind(kind):
    """Each query attends to all keys that the kind has for its row or column."""
    config = TransformerConfig(
        emb_dim=8, num_layers=1, num_heads=2, seq_len=12, num_blocks=3, spread=2, lyric_len=4
    )
    layer = Attention(dataclasses.replace(config, causal=False), kind)
    x, weights = normal(1, 12, 8), normal(12, 8)

    def outputs(params, x):
        return (layer.apply(params, x)[0][0] * weights).sum(axis=-1)

    shapes = nn.meta.unbox(jax.eval_shape(layer.init, jax.random.key(0), x))
    params = jax.tree.map(lambda leaf: normal(*leaf.shape), shapes)
    reach = np.abs(jax.jit(jax.jacrev(outputs, argnums=1))(params, x)).sum(axis=(1, 3)) > 0
    query, key = np.arange(12)[:, None], np.arange(12)[None, :]
    row_end = (key % 4 >= 4 - (1 if kind == AttentionKind.SUMMARY else 2)) & (key < 8)
    expected = {
        AttentionKind.DENSE: np.ones((12, 12), bool),
        AttentionKind.BLOCK: query // 4 == key // 4,
        AttentionKind.TRANSPOSED_BLOCK: query % 4 == key % 4,
        AttentionKind.PREVIOUS_BLOCK: query // 4 - 1 == key // 4,
        AttentionKind.SUMMARY: np.broadcast_to(row_end, (12, 12)),
        AttentionKind.SUMMARY_SPREAD: np.broadcast_to(row_end, (12, 12)),
        AttentionKind.PRIME: np.broadcast_to(key < config.grid.prime_len, (12, 12)),
    }[kind]
    others = ~np.eye(12, dtype=bool)
    np.testing.assert_array_equal(reach[others], expected[others])


def test_encoder_decoder_sees_every_encoder_state():
    q, k, v = normal(2, 6, 2, 3), normal(2, 5, 2, 3), normal(2, 5, 2, 3, seed=1)

    @jax.jit
    def both(q, k, v):
        out, probs = attend(AttentionKind.ENCODER_DECODER, q, k, v, Grid(2, 3))
        return out, probs, dense_attention(q, k, v, np.ones((6, 5), bool))

    out, probs, expected = both(q, k, v)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    assert (np.asarray(probs) > 0).all()


@jax.jit
def every_kind(q, k, v):
    grid = Grid(3, 4, spread=2, prime_len=5)
    return {kind.name: attend(kind, q, k, v, grid) for kind in OWN_SEQUENCE}


def test_first_row_of_previous_block_gets_zeros():
    out, _ = every_kind(*random_qkv(12, 2, 3))["PREVIOUS_BLOCK"]
    np.testing.assert_array_equal(out[:, :4], 0.0)
    assert np.abs(out[:, 4:]).min() > 0


def test_probabilities_sum_to_one_and_survive_huge_scores():
    q, k, v = random_qkv(12, 2, 3)
    for name, (out, probs) in every_kind(1e3 * q, 1e3 * k, v).items():
        np.testing.assert_allclose(np.sum(probs, axis=-1), 1.0, rtol=1e-5, err_msg=name)
        assert np.isfinite(out).all(), name


def test_half_precision_inputs_keep_float32_probabilities():
    half = jax.ShapeDtypeStruct((2, 12, 2, 3), jnp.bfloat16)
    for name, (out, probs) in jax.eval_shape(every_kind, half, half, half).items():
        assert out.dtype == jnp.bfloat16, name
        assert probs.dtype == jnp.float32, name


def test_a_sequence_that_does_not_fill_its_rows_is_refused():
    q, k, v = random_qkv(10, 1, 2)
    with pytest.raises(ValueError, match="10 positions do not fill rows of 4"):
        attend(AttentionKind.BLOCK, q, k, v, Grid(3, 4))


PATTERNS = {
    0: "000000",
    1: "121212",
    2: "123123",
    3: "141414",
    4: "151515",
    5: "141114",
    6: "123612",
    7: "123123123123123612",
    8: "123123123612",
    9: "123012",
    10: "123123123" + "1231231236" * 3,
    11: "123123123123123" + "6" + "231231231231231" + "6" + "312312312312312" + "0",
    12: "123123123123123" + "7" + "231231231231231" + "7" + "312312312312312" + "0",
}


@pytest.mark.parametrize("attn_order", PATTERNS)
def test_patterns_are_those_of_the_design(attn_order):
    """Layer by layer; in orders 11 and 12 the cycle of three is not restarted after layer 15."""
    pattern = attention_pattern(attn_order, len(PATTERNS[attn_order]))
    assert "".join(str(int(kind)) for kind in pattern) == PATTERNS[attn_order]


def test_an_unknown_pattern_is_refused():
    with pytest.raises(ValueError, match="attn_order is 13; known patterns are 0 to 12"):
        attention_pattern(13, 4)


@pytest.mark.parametrize(
    ("lyrics", "blocks", "length"), [(384, 64, 448), (512, 128, 640), (5, 3, 6)]
)
def test_prime_length_goes_past_the_next_multiple(lyrics, blocks, length):
    assert prime_length(lyrics, blocks) == length
