"""The VQ-VAE whole: its size, rates, learning and sharding."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jukejax.models.layers import init_params
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import quantize
from jukejax.weights.openai import vqvae as openai_vqvae

TINY = {
    "downs": (2, 1),
    "strides": (2, 4),
    "emb_dim": 6,
    "codebook_size": 10,
    "width": 4,
    "depth": 1,
    "multipliers": (2, 1),
}


def tiny(**fields):
    return VQVAEConfig(**(TINY | fields))


@functools.cache
def build(config):
    """Returns a model and its unboxed variables, the same for all tests."""
    model = VQVAE(config)
    audio = jnp.zeros((1, config.hops[-1], config.channels))
    shapes = nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(0), audio))
    start = jax.jit(lambda key: init_params(shapes["params"], key))
    variables = {"params": start(jax.random.key(1))}
    if config.has_codes:
        empty = quantize.empty_codebook(config.codebook_size, config.emb_dim)._asdict()
        variables["codebook"] = {name: dict(empty) for name in shapes["codebook"]}
    return model, variables


def normal(seed, batch=4):
    """Returns audio of normal numbers, drawn by NumPy."""
    return np.random.default_rng(seed).normal(size=(batch, 64, 1)).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("model", "method"))
def run(model, variables, x, method="__call__"):
    return model.apply(variables, x, method=method)


@functools.partial(jax.jit, static_argnames="model")
def decode_levels(model, variables, codes):
    """Decodes each level's codes (or features) alone."""
    return [
        model.apply(variables, level_codes, level, method="decode")
        for level, level_codes in enumerate(codes)
    ]


def train(model, variables, audio, key):
    """Returns (output, variables with updated codebooks)."""

    output, moved = _train(model, variables, audio, key)
    return output, variables | moved


@functools.partial(jax.jit, static_argnums=0)
def _train(model, variables, audio, key):
    rngs = {"codebook": key}
    return model.apply(variables, audio, train=True, rngs=rngs, mutable=["codebook"])


def test_released_model_has_its_size():
    config = VQVAEConfig()
    shapes = jax.eval_shape(
        lambda key: nn.meta.unbox(VQVAE(config).init(key, jnp.zeros((1, 128, 1)))),
        jax.random.key(0),
    )
    assert config.hops == (8, 32, 128)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 1_485_763
    codebooks = [shapes["codebook"][f"codebooks_{level}"]["codebook"] for level in range(3)]
    assert [codebook.shape for codebook in codebooks] == 3 * [(2048, 64)]
    entries = list(openai_vqvae.vqvae_entries(config))
    assert len(entries) == 669
    assert len({entry.name for entry in entries}) == 669


def test_codes_come_at_the_hops_rate_and_decode_to_whole_hops(key):
    model, variables = build(tiny())
    audio = normal(0)
    _, variables = train(model, variables, audio, key())
    for length in (64, 61):
        part = audio[:, :length]
        codes = jax.eval_shape(lambda x: model.apply(variables, x, method="encode"), part)
        for level, hop in enumerate((4, 16)):
            assert codes[level].shape == (4, length // hop)
            assert codes[level].dtype == jnp.int32
            decoded = jax.eval_shape(
                lambda x, level=level: model.apply(variables, x, level, method="decode"),
                codes[level],
            )
            assert decoded.shape == (4, length // hop * hop, 1)

    @jax.jit
    def encode(variables, audio):
        codes = model.apply(variables, audio, method="encode")
        return codes[1], *model.apply(variables, audio, start_level=1, method="encode")

    np.testing.assert_array_equal(*encode(variables, audio[:, :61]))


def test_forward_audio_is_the_decoded_codes_of_each_level_alone(key):
    model, variables = build(tiny())
    audio = normal(0)
    _, variables = train(model, variables, audio, key())
    output = run(model, variables, audio)
    assert output.metrics == ({}, {})
    codes = run(model, variables, audio, method="encode")
    decoded = decode_levels(model, variables, codes)
    for level in range(2):
        np.testing.assert_array_equal(output.quantized[level].codes, codes[level])
        np.testing.assert_allclose(output.audio[level], decoded[level], rtol=1e-4, atol=1e-5)


def rows_of(model, variables, audio):
    """Returns level 0's features as rows [N, E]."""
    return np.asarray(run(model, variables, audio, method="compute_features")[0]).reshape(-1, 6)


def distance_to_rows(vectors, rows):
    """Returns the largest distance of a vector to the row nearest to it."""
    gaps = np.abs(rows[:, None] - np.asarray(vectors))
    return gaps.max(axis=-1).min(axis=0).max()


def test_the_first_batch_starts_the_codebook_and_moves_it_at_once(key):
    model, variables = build(tiny())
    assert not variables["codebook"]["codebooks_0"]["initialised"]
    audio = normal(0)
    output, first = train(model, variables, audio, key())
    book, rows = first["codebook"]["codebooks_0"], rows_of(model, variables, audio)
    assert book["initialised"]
    sums, counts = quantize.sum_by_code(rows, output.quantized[0].codes.reshape(-1), 10)
    np.testing.assert_allclose(book["codebook_count"], 0.99 + 0.01 * counts, rtol=1e-5)
    start = (book["codebook_sum"] - 0.01 * sums) / 0.99
    assert distance_to_rows(start, rows) < 1e-5
    output, second = train(model, first, normal(1), key())
    change = second["codebook"]["codebooks_0"]["codebook"] - book["codebook"]
    np.testing.assert_allclose(output.metrics[0]["dk"], jnp.sqrt(jnp.mean(change**2)), rtol=1e-4)
    assert float(output.metrics[0]["dk"]) > 0


def test_frozen_codebooks_stay_at_rows_of_the_first_batch(key):
    model, variables = build(tiny(ema_decay=1.0, restart_threshold=5.0))
    audio = normal(0)
    _, start = train(model, variables, audio, key())
    rows = rows_of(model, variables, audio)
    assert distance_to_rows(start["codebook"]["codebooks_0"]["codebook"], rows) < 1e-5
    _, moved = train(model, start, normal(1), key())
    jax.tree.map(np.testing.assert_array_equal, moved["codebook"], start["codebook"])


def test_two_devices_learn_what_one_learns(key):
    model, variables = build(tiny())
    audio, step_key = normal(0), key()
    alone, expected = train(model, variables, audio, step_key)
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    cut = jax.device_put(audio, NamedSharding(mesh, PartitionSpec("data")))
    copies = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    together, ours = train(model, copies, cut, step_key)
    assert len(together.audio[0].sharding.device_set) == 2
    check = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(check, together, alone)
    jax.tree.map(check, ours["codebook"], expected["codebook"])


def test_without_a_bottleneck_features_pass(key):
    model, variables = build(tiny(bottleneck="none"))
    assert set(variables) == {"params"}
    audio = normal(0, batch=1)
    features = run(model, variables, audio, method="encode")
    output, _ = train(model, variables, audio, key())
    assert output.quantized is None
    for level, decoded in enumerate(decode_levels(model, variables, features)):
        np.testing.assert_allclose(output.audio[level], decoded, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strides": (2, 3)}, "3 is not an even number"),
        ({"multipliers": (1,)}, "one entry for each level"),
        ({"downs": (0, 1)}, "level 0 needs"),
        ({"ema_decay": 1.5}, "outside"),
    ],
)
def test_impossible_configs_say_why(fields, message):
    with pytest.raises(ValueError, match=message):
        tiny(**fields)


def test_impossible_audio_says_why():
    model, variables = build(tiny())
    with pytest.raises(ValueError, match=r"must be \[batch, time, 1\]"):
        model.apply(variables, jnp.zeros((1, 64, 2)))
    with pytest.raises(ValueError, match="less than one code of the top level"):
        model.apply(variables, jnp.zeros((1, 15, 1)), method="encode")
    with pytest.raises(ValueError, match="no multiple of the top level's 16"):
        model.apply(variables, jnp.zeros((1, 63, 1)))
    with pytest.raises(ValueError, match="level 2 is not one of the 2"):
        model.apply(variables, jnp.zeros((1, 4), jnp.int32), 2, method="decode")
