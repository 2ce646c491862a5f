"""Whole tracks through a VQ-VAE: the same codes as in one piece, whatever the windows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference import codec
from jukejax.models.vqvae import VQVAE
from jukejax.ops.cpu import convolution
from tests.support import small_codec

WINDOW = 44160  # a second in whole codes, which the tests take for a window
LENGTHS = (100_000, 300, WINDOW - 128, WINDOW)


@pytest.fixture(scope="module")
def made():
    before, codec.WINDOW_SECONDS = codec.WINDOW_SECONDS, 1
    yield codec.Codec(small_codec.DESCRIPTION, small_codec.weights())
    codec.WINDOW_SECONDS = before


@pytest.fixture(scope="module")
def sounds():
    random = np.random.default_rng(0)
    return [random.normal(0, 0.3, (length, 1)).astype(np.float32) for length in LENGTHS]


@pytest.fixture(scope="module")
def in_one_piece(made, sounds):
    variables = {"params": made._variables["params"], "codebook": made._variables["codebook"]}

    @jax.jit
    def encode(whole):
        return VQVAE(made.config).apply(variables, whole, method=VQVAE.encode)

    wholes = [jnp.asarray(sound[None, : len(sound) // 128 * 128]) for sound in sounds]
    return [[np.asarray(level[0]) for level in encode(whole)] for whole in wholes]


class Sound:
    """Remembers what was read of it."""

    def __init__(self, array):
        self.array, self.samples, self.reads = array[:, 0], len(array), []

    def read(self, start, out):
        self.reads.append((start, start + len(out)))
        out[:] = self.array[start : start + len(out)]


@pytest.mark.parametrize("batch_size", [1, jax.device_count()])
def test_codes_equal_those_of_the_whole_track_in_one_piece(made, sounds, in_one_piece, batch_size):
    given = [Sound(array) for array in sounds]
    settled = []
    found = list(made.encode_all(given, batch_size=batch_size, progress=settled.append))
    assert [sound for sound, _ in found] == given
    for (_, codes), expected in zip(found, in_one_piece, strict=True):
        assert len(codes) == 3
        for level, whole in zip(codes, expected, strict=True):
            assert level.dtype == np.int32
            np.testing.assert_array_equal(level, whole)
    assert sum(settled) == sum(length // 128 * 128 for length in LENGTHS)
    assert len(np.unique(found[0][1][0])) > 4  # the random model does tell sounds apart


def test_one_sound_is_the_same_as_many(made, sounds, in_one_piece):
    for sound, expected in zip(sounds[:2], in_one_piece, strict=False):
        stereo = np.concatenate([2 * sound, np.zeros_like(sound)], axis=1)
        for level, whole in zip(made.encode(stereo), expected, strict=True):
            np.testing.assert_array_equal(level, whole)


def test_of_a_wide_model_too_sound_ends_where_it_ends():
    """Wide enough for the residual blocks of ops/cpu/convolution.py."""
    config = dataclasses.replace(small_codec.CONFIG, emb_dim=32, width=32)
    made = small_codec.weights(config=config)
    variables = {"params": made["params"], "codebook": made["extra"]}
    sound = np.random.default_rng(0).normal(0, 0.3, (2, 8192, 1)).astype(np.float32)
    given = (config, variables, jnp.asarray(sound), np.array([4096, 8192]))
    if convolution.LIBRARY.is_usable():
        assert convolution.FORWARD in codec._encode.lower(*given).as_text()
    short = codec._encode(config, variables, jnp.asarray(sound[:1, :4096]), np.array([4096]))
    for found, expected in zip(codec._encode(*given), short, strict=True):
        np.testing.assert_array_equal(found[0, : expected.shape[1]], expected[0])


def test_every_length_runs_the_same_program(made, sounds):
    list(made.encode_all([Sound(sounds[0])]))
    before = codec._encode._cache_size()
    list(made.encode_all([Sound(array[:-100]) for array in sounds]))
    assert codec._encode._cache_size() == before


def test_long_sounds_are_read_window_by_window(made, sounds):
    sound = Sound(sounds[0])
    windows = made.encode_all([sound], batch_size=1)
    next(windows)
    assert sound.reads[0] == (0, WINDOW)
    assert sound.reads[-1] == (100_000 // 128 * 128 - WINDOW, 100_000 // 128 * 128)
    assert {end - start for start, end in sound.reads} == {WINDOW}


def test_sound_shorter_than_a_code_is_refused(made):
    with pytest.raises(ValueError, match="127 samples of audio are less than one code, 128"):
        made.encode(np.zeros((127, 1), np.float32))


def test_decoding_by_windows_equals_decoding_in_one_piece(made, in_one_piece):
    variables = jax.tree.map(jnp.asarray, made._variables)
    codes = in_one_piece[0][2]  # the level that looks furthest
    decode = functools.partial(VQVAE(made.config).apply, level=2, method=VQVAE.decode)
    whole = jax.jit(decode)(variables, jnp.asarray(codes[None]))
    np.testing.assert_allclose(made.decode(codes, 2), whole[0], rtol=1e-4, atol=1e-4)
