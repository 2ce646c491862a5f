"""Tests of the program that samples a batch of windows."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jukejax.inference import window_program
from jukejax.inference.budget import fit_batch
from jukejax.inference.conditioning import Labels, compute_conditions, make_window_labels
from jukejax.inference.loaded_model import Model
from jukejax.inference.window_program import WindowInputs
from jukejax.models.decoding import prefill_caches
from jukejax.models.prior import build_sequence
from jukejax.ops.chunks import map_chunks
from jukejax.weights.shipped import resolve_model

ROWS = 3


@pytest.fixture(scope="module")
def upsampler():
    """The upsampler to level 0 of the shipped model, whose matrices and caches are in float16."""
    return Model(resolve_model("house")).load_prior(0)


@functools.partial(jax.jit, static_argnames=("config", "chunk"))
def compute_start(config, weights, codes, upper_codes, labels, chunk):
    """Computes conditions, and caches after half a window, as `sample_windows` does."""
    conditions = map_chunks(
        lambda upper_codes, labels: compute_conditions(config, weights, upper_codes, labels),
        chunk,
        upper_codes,
        labels,
    )
    tokens, start = build_sequence(config, codes, labels), config.seq_len // 2
    caches = prefill_caches(config.autoregressive, weights.decode, tokens, conditions, start, chunk)
    return conditions, caches


def test_turns_have_their_factor_of_the_temperature(upsampler):
    config = dataclasses.replace(upsampler[0], turn_temperatures=(0.5, 1.0, 1.0, 2.0))
    start = 6
    labels = make_window_labels(config, [Labels(0, (0,), 44_100 * 60)] * 2, start)
    inputs = WindowInputs(*[None] * 7, np.array([0.8, 0.0], np.float32))._replace(labels=labels)
    temperatures = window_program._spread_temperatures(config, inputs)
    expected = np.take(config.turn_temperatures, (start + np.arange(config.seq_len)) % 4)
    np.testing.assert_allclose(temperatures, np.outer([0.8, 0.0], expected), rtol=1e-6)
    plain = dataclasses.replace(config, turn_temperatures=())
    assert window_program._spread_temperatures(plain, inputs).shape == (2, 1)


def test_a_row_starts_with_the_same_bits_in_every_batch(upsampler):
    """In float16 a different last bit of a key would soon be a different code."""
    config, weights = upsampler
    chunk = fit_batch(config, weights, weights.decode.dtype, 0.8).chunk
    draw = np.random.default_rng(0).integers
    codes = draw(0, 2048, (ROWS, config.seq_len), np.int32)
    upper_codes = draw(0, 2048, (ROWS, *config.upper.find_shape(config.seq_len)), np.int32)
    labels = make_window_labels(config, [Labels(0, (0,), 44_100 * 60)] * ROWS, 0)
    inputs = codes, upper_codes, labels
    batch = compute_start(config, weights, *inputs, chunk)
    single = compute_start(config, weights, *(rows[:1] for rows in inputs), None)
    for in_batch, alone in zip(jax.tree.leaves(batch), jax.tree.leaves(single), strict=True):
        np.testing.assert_array_equal(in_batch[:1], alone)
