"""The stack: scanned equals unrolled, recomputed equals stored, and the configs' own rules."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models import transformer
from jukejax.models.block import Block
from jukejax.models.projection import LayerNorm
from jukejax.models.transformer import Transformer, unstack_layers
from jukejax.models.transformer_config import REMAT, TransformerConfig
from jukejax.ops.attention.kinds import attention_pattern

ENCODER_LEN = 3


def config_of(attn_order, num_layers, **options):
    return TransformerConfig(
        emb_dim=8,
        num_layers=num_layers,
        num_heads=2,
        seq_len=12,
        num_blocks=3,
        attn_order=attn_order,
        attn_ratio=0.5,
        spread=2,
        lyric_len=4,
        encoder_len=ENCODER_LEN,
        **options,
    )


def inputs_of(config, seed=0):
    """(params, x [2, T, E], encoder states), drawn by NumPy: nothing to compile."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, config.seq_len, config.emb_dim)).astype(np.float32)
    states = rng.normal(size=(2, ENCODER_LEN, config.emb_dim)).astype(np.float32)
    init = Transformer(config).init
    shapes = nn.meta.unbox(jax.eval_shape(init, jax.random.key(0), x, states))["params"]
    return (
        jax.tree.map(lambda s: rng.normal(size=s.shape, scale=0.3).astype(np.float32), shapes),
        x,
        states,
    )


def scanned(config, params, x, states):
    return Transformer(config).apply({"params": params}, x, states)


def unrolled(config, params, x, states):
    for kind, layer in zip(config.pattern, unstack_layers(config.pattern, params), strict=True):
        x = Block(config, kind).apply({"params": layer}, x, states)
    return x


def assert_trees_close(ours, theirs):
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5 * np.abs(y).max() + 1e-7)


@pytest.mark.parametrize(("attn_order", "num_layers"), [(1, 3), (6, 8)])
def test_scan_over_the_period_equals_one_layer_after_another(attn_order, num_layers):
    """With a layer left over after the last whole period, and with cross attention's own stack."""
    config = config_of(attn_order, num_layers)
    both = jax.jit(lambda *inputs: (scanned(config, *inputs), unrolled(config, *inputs)))
    assert_trees_close(*both(*inputs_of(config)))


def test_recomputing_or_unrolling_changes_no_gradient():
    params, x, _ = inputs_of(config_of(0, 2))

    @jax.jit
    def gradients(params):
        runs = [(unrolled, "none"), *((scanned, remat) for remat in REMAT)]
        return [
            jax.grad(
                lambda p, run=run, remat=remat: (
                    run(config_of(0, 2, remat=remat), p, x, None) ** 2
                ).mean()
            )(params)
            for run, remat in runs
        ]

    expected, *others = gradients(params)
    for grads in others:
        assert_trees_close(grads, expected)


@pytest.mark.parametrize("attn_order", range(13))
def test_segments_are_the_pattern_again(attn_order):
    for num_layers in (1, 3, 16, 18, 48, 72, 79):
        pattern = attention_pattern(attn_order, num_layers)
        segments = transformer.find_segments(pattern)
        assert sum((cycle * repeats for cycle, repeats in segments), ()) == pattern


def test_the_released_stacks_are_scanned_not_unrolled():
    """Layers that are compiled, of 72 or 79."""
    compiled = {
        attn_order: sum(
            len(cycle)
            for cycle, _ in transformer.find_segments(attention_pattern(attn_order, num_layers))
        )
        for attn_order, num_layers in ((2, 72), (12, 72), (10, 79))
    }
    assert compiled[2] == 3
    assert compiled[12] <= 40
    assert compiled[10] <= 40


def test_dropout_needs_a_key_and_follows_it():
    config = config_of(0, 2, attn_dropout=0.3, resid_dropout=0.3)
    params, x, _ = inputs_of(config)

    @jax.jit
    def noisy(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return Transformer(config).apply({"params": params}, x, deterministic=False, rngs=rngs)

    quiet = jax.jit(lambda: scanned(config, params, x, None))()
    first, again, other = noisy(1), noisy(1), noisy(2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first - quiet).max() > 1e-3


def test_layers_start_different_and_at_their_scale():
    """0.02 * init_scale for kernels, ones for norms, zeros for biases; no two layers alike.

    Branches of cross attention layers start at zero.
    """
    config = dataclasses.replace(config_of(6, 4), emb_dim=64, init_scale=0.5)
    x, states = (np.zeros((1, n, 64), np.float32) for n in (config.seq_len, ENCODER_LEN))
    params = nn.meta.unbox(jax.jit(Transformer(config).init)(jax.random.key(0), x, states))
    layers, cross = params["params"]["self_layers"], params["params"]["cross_layers"]
    kernel = np.asarray(layers["mlp_in"]["kernel"])
    assert kernel.shape == (3, 64, 64)
    np.testing.assert_allclose(kernel.std(), 0.01, rtol=0.05)
    assert np.abs(np.corrcoef(kernel.reshape(3, -1)) - np.eye(3)).max() < 0.1
    np.testing.assert_array_equal(layers["attn_norm"]["scale"], 1.0)
    np.testing.assert_array_equal(layers["mlp_in"]["bias"], 0.0)
    for zero in (cross["attn"]["out"], cross["mlp_out"]):
        np.testing.assert_array_equal(zero["kernel"], 0.0)
    for other in (layers["attn"]["out"], layers["mlp_out"], cross["attn"]["key_value"]):
        assert np.abs(other["kernel"]).max() > 0.01


def test_a_zeroed_out_block_starts_as_the_identity():
    config = config_of(2, 1, zero_out=True)
    _, x, _ = inputs_of(config)
    block = Block(config, config.pattern[0])
    out, _ = jax.jit(block.init_with_output)(jax.random.key(0), x)
    np.testing.assert_array_equal(out, x)


def test_parameters_carry_the_axes_that_sharding_needs():
    config = config_of(2, 3)
    x = jnp.zeros((1, config.seq_len, config.emb_dim))
    boxed = jax.eval_shape(Transformer(config).init, jax.random.key(0), x)["params"]
    layers = nn.get_partition_spec(boxed)["self_layers"]
    kernel = layers["attn"]["query_key_value"]["kernel"]
    assert tuple(kernel) == ("layers", "embed", "heads")
    assert tuple(layers["mlp_out"]["kernel"]) == ("layers", "mlp", "embed")


@pytest.mark.parametrize("shape", [(4, 32), (4, 1, 32)])
def test_layer_norm_is_computed_in_float32(shape):
    """For steps as for whole windows."""
    x = 100 + np.random.default_rng(0).normal(size=shape).astype(np.float32)
    norm = LayerNorm()
    params = {"params": {"scale": jnp.full(32, 2.0), "bias": jnp.full(32, 1.0)}}
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * 2 + 1
    apply = jax.jit(norm.apply)
    np.testing.assert_allclose(apply(params, x), expected, atol=1e-4)
    assert apply(params, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, "num_heads 3 does not divide the attention state 4"),
        ({"remat": "some"}, "remat is 'some'; known: none, dots, block, full"),
        ({"attn_order": 99}, "attn_order is 99"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_impossible_shapes_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config_of(2, 3), **options)
