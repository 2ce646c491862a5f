"""Causality of whole models by gradient, and stepping against the teacher-forced pass."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference.token_loop import select_previous
from jukejax.models import decoding
from jukejax.models.autoregressive import Autoregressive, AutoregressiveConfig, Conditions
from jukejax.models.transformer import empty_caches
from jukejax.models.transformer_config import TransformerConfig

BATCH, SEQ_LEN, EMB_DIM, VOCAB, ENCODER_LEN = 2, 12, 8, 16, 3


def config_of(attn_order=2, num_layers=3, num_blocks=3, **options):
    stack = TransformerConfig(
        emb_dim=EMB_DIM,
        num_layers=num_layers,
        num_heads=2,
        seq_len=SEQ_LEN,
        num_blocks=num_blocks,
        attn_order=attn_order,
        attn_ratio=0.5,
        spread=2,
        lyric_len=4,
        encoder_len=ENCODER_LEN,
    )
    return AutoregressiveConfig(VOCAB, stack, **options)


def normal(*shape, seed=0, scale=1.0):
    """Returns normal numbers, drawn by NumPy: nothing to compile."""
    rng = np.random.default_rng((seed, *shape))
    return (scale * rng.normal(size=shape)).astype(np.float32)


def conditions_of(config, code_cond=None):
    """`code_cond`: None, "full" or "single"."""
    lengths = {"full": SEQ_LEN, "single": 1}
    crossed = config.transformer.attn_order in (6, 7, 8, 10, 11)
    return Conditions(
        code_cond=normal(BATCH, lengths[code_cond], EMB_DIM) if code_cond else None,
        label_emb=normal(BATCH, EMB_DIM, seed=1) if config.labeled else None,
        encoder_states=normal(BATCH, ENCODER_LEN, EMB_DIM) if crossed else None,
    )


def params_of(config, conditions):
    codes = jax.ShapeDtypeStruct((BATCH, SEQ_LEN), jnp.int32)
    init = functools.partial(jax.eval_shape, Autoregressive(config).init)
    shapes = nn.meta.unbox(init(jax.random.key(0), codes, conditions))["params"]
    leaves, tree = jax.tree.flatten(shapes)
    filled = [normal(*leaf.shape, seed=i, scale=0.4) for i, leaf in enumerate(leaves)]
    return jax.device_put(jax.tree.unflatten(tree, filled))


def forward(config, params, codes, conditions):
    return Autoregressive(config).apply({"params": params}, codes, conditions)


# Orders whose three factors are all there reach every earlier code; the others must only not peek.
@pytest.mark.parametrize(
    ("attn_order", "num_layers", "complete"),
    [
        (0, 1, True),
        pytest.param(2, 3, True, marks=pytest.mark.slow),  # the first layers of order 6
        (3, 2, False),
        (4, 2, False),
        (6, 4, True),
        pytest.param(12, 16, True, marks=pytest.mark.slow),
    ],
)
def test_logits_depend_on_earlier_codes_only_by_gradient(attn_order, num_layers, complete):
    """Codes are all different, so a row of the embedding stands for one position."""
    config = config_of(attn_order, num_layers, merged_decoder=True)
    conditions = conditions_of(config)
    codes = jnp.broadcast_to(jnp.arange(SEQ_LEN), (BATCH, SEQ_LEN))
    weights = normal(SEQ_LEN, VOCAB)
    params = params_of(config, conditions)

    def scores(table):
        logits = forward(config, {**params, "code_embedding": table}, codes, conditions)
        return (logits[0] * weights).sum(axis=-1)

    jacobian = jax.jit(jax.jacrev(scores))(params["code_embedding"])
    reach = np.abs(jacobian[:, :SEQ_LEN]).sum(axis=-1) > 0  # [logits at, code at]
    before = np.tri(SEQ_LEN, k=-1, dtype=bool)
    assert not (reach & ~before).any(), "a position sees itself or the future"
    np.testing.assert_array_equal(np.diagonal(reach, -1), True)
    if complete:
        np.testing.assert_array_equal(reach, before)


def test_earlier_codes_at_the_distances_are_inputs():
    config = config_of(0, 1, lookback=(3, 5))
    params = params_of(config, Conditions())
    model = Autoregressive(config)
    codes = jnp.broadcast_to(jnp.arange(SEQ_LEN), (BATCH, SEQ_LEN))

    def embed(table):
        weights = {"params": {**params, "code_embedding": table}}
        return model.apply(weights, codes, Conditions(), True, method=model.embed)[0].sum(axis=-1)

    jacobian = jax.jit(jax.jacrev(embed))(params["code_embedding"])
    reach = np.abs(jacobian[:, :SEQ_LEN]).sum(axis=-1) > 0
    expected = sum(np.eye(SEQ_LEN, k=-distance) for distance in (1, 3, 5)) > 0
    np.testing.assert_array_equal(reach, expected)


@pytest.mark.parametrize("distance", [1, SEQ_LEN])
def test_a_lookback_outside_the_window_is_refused(distance):
    with pytest.raises(ValueError, match=f"{distance} must be 2 to {SEQ_LEN - 1}"):
        config_of(lookback=(distance,))


STEPPED = [
    pytest.param(2, 4, {}, None, marks=pytest.mark.slow),  # the golden tests step through these
    (2, 3, {"labeled": True}, "full"),
    (2, 3, {"labeled": True, "merged_decoder": True}, "single"),
    (6, 4, {}, None),
    (2, 3, {"labeled": True, "lookback": (4, 8)}, "full"),
    (2, 3, {"num_blocks": 4, "lookback": (4,)}, "full"),  # prefilled to a half of the window
    (1, 2, {"num_blocks": 6}, None),
    (4, 2, {"num_blocks": 6}, "single"),
]


@pytest.mark.parametrize(("attn_order", "num_layers", "options", "code_cond"), STEPPED, ids=str)
def test_step_by_step_logits_are_the_teacher_forced_ones(
    attn_order, num_layers, options, code_cond
):
    """From an empty window, and from prompts that end mid-row, at a row's end, and just before
    the window's end; what lies behind the prompt at prefill is garbage."""
    config = config_of(attn_order, num_layers, **options)
    conditions = conditions_of(config, code_cond)
    params = params_of(config, conditions)
    codes = np.random.default_rng(0).integers(VOCAB, size=(BATCH, SEQ_LEN)).astype(np.int32)

    teacher_forced = jax.jit(forward, static_argnums=0)

    @jax.jit
    def stepped(prompt, codes, length):
        weights = decoding.prepare_decode_weights(config, params, jnp.float32)
        caches = decoding.prefill_caches(config, weights, prompt, conditions, length)

        def body(position, carry):
            caches, outs = carry
            previous = select_previous(codes, position, config.lookback)
            logits, caches = decoding.decode_step(
                config, weights, caches, previous, conditions, position
            )
            return caches, jax.lax.dynamic_update_index_in_dim(outs, logits, position, 1)

        outs = jnp.zeros((BATCH, SEQ_LEN, VOCAB))
        return jax.lax.fori_loop(length, SEQ_LEN, body, (caches, outs))[1]

    expected = np.asarray(teacher_forced(config, params, codes, conditions))
    for length in (0, 1, 3, 4, 6, 8, 9, SEQ_LEN - 1):
        prompt = codes.copy()
        prompt[:, length:] = VOCAB - 1
        logits = np.asarray(stepped(prompt, codes, np.int32(length)))
        difference = np.abs(logits[:, length:] - expected[:, length:]).max()
        assert difference <= 1e-4, f"from {length}: {difference}"


def test_empty_caches_are_what_prefill_of_nothing_gives():
    config = config_of(2, 3)
    params = params_of(config, Conditions())

    def shapes():
        weights = decoding.prepare_decode_weights(config, params, jnp.bfloat16)
        codes = jnp.zeros((BATCH, SEQ_LEN), jnp.int32)
        return decoding.prefill_caches(config, weights, codes, Conditions(), jnp.int32(0))

    empty = jax.eval_shape(lambda: empty_caches(config.transformer, BATCH, jnp.bfloat16))
    assert jax.tree.leaves(jax.eval_shape(shapes)) == jax.tree.leaves(empty)


def test_the_label_takes_the_start_slot_and_no_other():
    """At the first position the model knows its label alone: codes do not matter there."""
    config = config_of(2, 3, labeled=True)
    conditions = conditions_of(config)
    params = params_of(config, conditions)
    assert "start_token" not in params
    embed = jax.jit(
        lambda codes, label: Autoregressive(config).apply(
            {"params": params}, codes, Conditions(label_emb=label), True, method="embed"
        )
    )
    codes = np.zeros((BATCH, SEQ_LEN), np.int32)
    once, twice = (embed(codes, factor * conditions.label_emb) for factor in (1, 2))
    np.testing.assert_allclose(
        once[:, 0] - params["position_embedding"][0], conditions.label_emb, atol=1e-6
    )
    np.testing.assert_array_equal(once[:, 1:], twice[:, 1:])
    np.testing.assert_array_equal(embed(codes + 1, conditions.label_emb)[:, 0], once[:, 0])


def test_conditions_come_back_after_the_stack_unless_the_decoder_is_merged():
    """`code_cond` is added to the activations before tied weights, not before their own."""
    acts, code_cond = normal(BATCH, SEQ_LEN, EMB_DIM), normal(BATCH, 1, EMB_DIM, seed=1)
    for merged in (False, True):
        config = config_of(merged_decoder=merged)
        params = params_of(config, Conditions())
        table = params["output" if merged else "code_embedding"]
        predict = jax.jit(functools.partial(Autoregressive(config).apply, method="predict"))
        logits = predict({"params": params}, acts, code_cond)
        expected = (acts if merged else acts + code_cond) @ table.T
        np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_an_encoder_ends_with_activations():
    config = dataclasses.replace(config_of(), has_output=False)
    codes = jax.ShapeDtypeStruct((BATCH, SEQ_LEN), jnp.int32)
    init = Autoregressive(config).init_with_output
    out, variables = jax.eval_shape(init, jax.random.key(0), codes, Conditions())
    assert out.shape == (BATCH, SEQ_LEN, EMB_DIM)
    assert "output" not in variables["params"]


def test_logits_are_float32_whatever_the_compute_type():
    config = config_of()
    params = params_of(config, Conditions())
    codes = jnp.zeros((BATCH, SEQ_LEN), jnp.int32)
    model = Autoregressive(config, jnp.bfloat16)
    logits = jax.eval_shape(lambda: model.apply({"params": params}, codes, Conditions()))
    assert logits.dtype == jnp.float32


@pytest.mark.parametrize(
    "chunk", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_a_batch_prefilled_in_parts_is_the_batch_prefilled_at_once(chunk):
    """Five items, so that the last part is not full."""
    config = config_of(6, 4)
    conditions = conditions_of(config, "full")
    params = params_of(config, conditions)
    prepare = jax.jit(decoding.prepare_decode_weights, static_argnums=(0, 2))
    weights = prepare(config, params, jnp.float32)
    rng = np.random.default_rng(3)
    many = jax.tree.map(lambda leaf: normal(5, *leaf.shape[1:]), conditions)
    codes = rng.integers(VOCAB, size=(5, SEQ_LEN)).astype(np.int32)
    prefill = jax.jit(decoding.prefill_caches, static_argnums=(0, 5))
    whole = prefill(config, weights, codes, many, jnp.int32(7), None)
    parts = prefill(config, weights, codes, many, jnp.int32(7), chunk)
    for left, right in zip(*map(jax.tree.leaves, (whole, parts)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
