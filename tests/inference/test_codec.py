"""Whole tracks through a VQ-VAE, window by window: the same codes as in a single pass."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.common.config import to_plain
from jukejax.inference import codec, codec_programs
from jukejax.models.vqvae import VQVAE
from jukejax.ops.cpu import convolution
from jukejax.ops.cpu.switch import set_cpu_kernels
from jukejax.weights.shipped import resolve_model
from tests.support import small_codec

CONFIG = dataclasses.replace(small_codec.CONFIG, downs=(3, 2), strides=(2, 2), multipliers=(1, 1))
DESCRIPTION = small_codec.DESCRIPTION | {"hops": [8, 32], "config": to_plain(CONFIG)}
HOP = 32  # samples of a code of the upper level
WINDOW = 44128  # a second in whole codes
LENGTHS = (100_000, 300, WINDOW - HOP, WINDOW)


@pytest.fixture(scope="module")
def small():
    """A codec with windows of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "WINDOW_SECONDS", 1)
        return codec.Codec(DESCRIPTION, small_codec.weights(config=CONFIG))


@pytest.fixture(scope="module")
def sounds():
    random = np.random.default_rng(0)
    return [random.normal(0, 0.3, (length, 1)).astype(np.float32) for length in LENGTHS]


@pytest.fixture(scope="module")
def expected_codes(small, sounds):
    variables = {"params": small._variables["params"], "codebook": small._variables["codebook"]}

    @jax.jit
    def encode(whole):
        return VQVAE(small.config).apply(variables, whole, method=VQVAE.encode)

    padded = [jnp.asarray(sound[None, : len(sound) // HOP * HOP]) for sound in sounds]
    return [[np.asarray(level[0]) for level in encode(whole)] for whole in padded]


class RecordingSound:
    """Records which samples are read."""

    def __init__(self, array):
        self.array, self.samples, self.reads = array[:, 0], len(array), []

    def read(self, start, out):
        self.reads.append((start, start + len(out)))
        out[:] = self.array[start : start + len(out)]


@pytest.mark.parametrize("batch_size", [1, jax.device_count()])
def test_codes_equal_those_of_a_single_pass_over_the_track(
    small, sounds, expected_codes, batch_size
):
    recordings = [RecordingSound(array) for array in sounds]
    encoded = []
    results = list(small.encode_all(recordings, batch_size=batch_size, progress=encoded.append))
    assert [sound for sound, _ in results] == recordings
    for (_, codes), expected in zip(results, expected_codes, strict=True):
        assert len(codes) == 2
        for level, whole in zip(codes, expected, strict=True):
            assert level.dtype == np.int32
            np.testing.assert_array_equal(level, whole)
    assert sum(encoded) == sum(length // HOP * HOP for length in LENGTHS)
    assert len(np.unique(results[0][1][0])) > 4  # the random model distinguishes sounds


def test_encoding_one_stereo_sound_equals_encoding_many(small, sounds, expected_codes):
    for sound, expected in zip(sounds[:2], expected_codes, strict=False):
        stereo = np.concatenate([2 * sound, np.zeros_like(sound)], axis=1)
        for level, whole in zip(small.encode(stereo), expected, strict=True):
            np.testing.assert_array_equal(level, whole)


def test_wide_model_masks_the_end_of_the_sound():
    """Wide enough for the residual blocks of ops/cpu/convolution.py."""
    config = dataclasses.replace(
        small_codec.CONFIG, emb_dim=32, width=32, downs=(3,), strides=(2,), multipliers=(1,)
    )
    weights = small_codec.weights(config=config)
    variables = {"params": weights["params"], "codebook": weights["extra"]}
    sound = np.random.default_rng(0).normal(0, 0.3, (2, 8192, 1)).astype(np.float32)
    inputs = (config, variables, jnp.asarray(sound), np.array([4096, 8192]))
    with set_cpu_kernels(True):
        if convolution.LIBRARY.is_usable():
            assert convolution.FORWARD in codec_programs.encode_windows.lower(*inputs).as_text()
        short = codec_programs.encode_windows(
            config, variables, jnp.asarray(sound[:1, :4096]), np.array([4096])
        )
        for codes, expected in zip(codec_programs.encode_windows(*inputs), short, strict=True):
            np.testing.assert_array_equal(codes[0, : expected.shape[1]], expected[0])


def test_all_lengths_run_the_same_program(small, sounds):
    list(small.encode_all([RecordingSound(sounds[0])]))
    before = codec_programs.encode_windows._cache_size()
    list(small.encode_all([RecordingSound(array[:-100]) for array in sounds]))
    assert codec_programs.encode_windows._cache_size() == before


def test_long_sounds_are_read_window_by_window(small, sounds):
    sound = RecordingSound(sounds[0])
    windows = small.encode_all([sound], batch_size=1)
    next(windows)
    assert sound.reads[0] == (0, WINDOW)
    assert sound.reads[-1] == (100_000 // HOP * HOP - WINDOW, 100_000 // HOP * HOP)
    assert {end - start for start, end in sound.reads} == {WINDOW}


def test_a_short_track_has_the_same_reference_in_a_short_window(monkeypatch):
    """Although its codes would fill a window, whose end depends on what follows."""
    shipped, level = codec.Codec.load(resolve_model("house")), 0
    samples = shipped._fit_window(1)
    assert shipped._fit_window(2 * samples) < shipped._window
    num_codes = samples // shipped.config.hops[level + 1]
    codes = np.random.default_rng(0).integers(0, shipped.config.codebook_size, num_codes)
    reference = shipped.encode_reference(codes, level)
    assert len(np.unique(reference)) > 1000
    monkeypatch.setattr(codec.Codec, "_fit_window", lambda self, samples: self._window)
    np.testing.assert_array_equal(shipped.encode_reference(codes, level), reference)


def test_sound_shorter_than_a_code_is_refused(small):
    with pytest.raises(ValueError, match="31 samples of audio are less than one code, 32"):
        small.encode(np.zeros((31, 1), np.float32))


def test_decoding_by_windows_equals_a_single_pass(small, expected_codes):
    variables = jax.tree.map(jnp.asarray, small._variables)
    codes = expected_codes[0][1]  # the level with the largest context
    decode = functools.partial(VQVAE(small.config).apply, level=1, method=VQVAE.decode)
    whole = jax.jit(decode)(variables, jnp.asarray(codes[None]))
    np.testing.assert_allclose(small.decode(codes, 1), whole[0], rtol=1e-4, atol=1e-4)
