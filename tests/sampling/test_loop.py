"""Loops: the beginning follows the end, and codes that take turns keep their turns."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from jukejax.inference.codec import Codec
from jukejax.inference.loaded_model import Model
from jukejax.models.frames import FrameConfig
from jukejax.sampling.initial_state import read_initial_state
from jukejax.sampling.levels import LevelSampler, NoStore
from jukejax.sampling.loop import append_beginning, complete_frame, decode_loop
from jukejax.sampling.plan import TrackPlan
from tests.sampling.test_reference import FRAMES, write_bundle
from tests.support import small_bundle
from tests.support.small_sample import make_request, sample

BAR = 60 / 400 * 4  # s, the shortest
LOOP = {"seconds": 2 * BAR, "bpm": 400, "is_exact": True, "loop": True, "candidates": 2}
SAMPLES = round(2 * BAR * 44100)
TOTAL = 414  # codes of level 2: a partial frame of two codes at the end
WAVEFORMS = (("waveform", 0, 900), ("waveform", 900, 3000), ("waveform", 3000, 16_000))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(write_bundle(tmp_path_factory.mktemp("bundle")))


def record_decoded_codes(config, margin):
    """Returns a codec that decodes every code to its number, and the list of what it decoded."""
    decoded = []

    def decode(codes, level):
        decoded.append(codes)
        return np.repeat(codes.astype(np.float32), config.hops[level])[:, None]

    codec = SimpleNamespace(
        config=config, sample_rate=44100, margin=lambda level: margin, decode=decode
    )
    return codec, decoded


@pytest.mark.parametrize("total", [TOTAL - 2, TOTAL, TOTAL + 1])
@pytest.mark.parametrize("margin", [4, 5, 1000])
def test_every_decoded_code_of_a_loop_has_its_turn(total, margin):
    config = dataclasses.replace(small_bundle.VQVAE, frames=FRAMES)
    codec, decoded = record_decoded_codes(config, margin)
    turns = np.arange(total) % 4
    sound = decode_loop(codec, {2: turns}, 2, 128 * total - 30)
    assert sound.shape == (128 * total - 30, 1)
    np.testing.assert_array_equal(decoded[0], np.arange(len(decoded[0])) % 4)
    np.testing.assert_array_equal(sound[300:, 0], np.repeat(turns, 128)[300:-30])


def test_codes_without_turns_are_decoded_between_margins():
    codec, decoded = record_decoded_codes(small_bundle.VQVAE, margin=6)
    codes = np.arange(TOTAL)
    decode_loop(codec, {2: codes}, 2, SAMPLES)
    np.testing.assert_array_equal(decoded[0], np.concatenate([codes[-7:], codes, codes[:7]]))


@pytest.mark.parametrize("frames", [1, 3])
def test_a_loop_sounds_as_the_same_codes_in_a_track(frames):
    config = dataclasses.replace(
        small_bundle.VQVAE,
        frames=FrameConfig(widths=(8, 8, 8), depths=(1, 1, 1), turns=(WAVEFORMS[:frames],) * 3),
    )
    codec = Codec(small_bundle.describe(config), small_bundle.random_weights(config))
    codes = np.random.default_rng(0).integers(0, 16, 240)
    samples = 240 * 128 - 30
    sound, middle = decode_loop(codec, {2: codes}, 2, samples), slice(300, samples)
    repeated = codec.decode(np.tile(codes, 3), 2)[240 * 128 :]
    np.testing.assert_allclose(sound[middle], repeated[middle], atol=1e-5 * np.abs(sound).max())


def test_the_last_frame_is_completed_by_the_same_turns_of_the_first():
    codes = np.array([[10, 21, 32, 43, 14, 25]])
    np.testing.assert_array_equal(complete_frame(codes, 4), [[10, 21, 32, 43, 14, 25, 32, 43]])
    np.testing.assert_array_equal(complete_frame(codes, 3), codes)
    appended = append_beginning(codes, 5, 2, 4)
    np.testing.assert_array_equal(appended, [[10, 21, 32, 43, 14, 21, 32, 43, 10, 21]])
    np.testing.assert_array_equal(append_beginning(codes, 5, 2, 1), [[10, 21, 32, 43, 14, 10, 21]])


@pytest.mark.parametrize("level", [2, 1])
def test_the_prior_hears_the_beginning_in_its_turns(model, monkeypatch, level):
    heard = []

    def record_range(sampler, stage, level, original, upper_codes, span, save):
        heard.append((original, upper_codes, span))
        return original

    monkeypatch.setattr(LevelSampler, "_resample_range", record_range)
    request = make_request(**LOOP)
    plan = TrackPlan(request, read_initial_state(model, request), 0)
    unit = 4 * 4 ** (2 - level)  # codes of four codes of level 2
    codes = np.arange(TOTAL * unit // 4)[None] % unit
    upper_codes = np.arange(TOTAL)[None] % 4 if level == 1 else None
    closed = LevelSampler(model, [plan], NoStore()).close_loop(level, codes, upper_codes, print)
    np.testing.assert_array_equal(closed, codes)
    ((original, above, span),) = heard
    assert span[1] == codes.shape[1]
    assert original.shape[1] > codes.shape[1] + unit
    np.testing.assert_array_equal(original[0], np.arange(original.shape[1]) % unit)
    if level == 1:
        assert original.shape[1] == 4 * above.shape[1]
        np.testing.assert_array_equal(above[0], np.arange(above.shape[1]) % 4)


def test_a_loop_of_codes_that_take_turns_has_its_length(model, tmp_path):
    (track,) = sample(model, tmp_path / "out", **LOOP, levels=(2, 1))
    assert {level: len(codes) for level, codes in track.items()} == {2: TOTAL, 1: 4 * TOTAL}
    for level in (2, 1):
        sound, _ = soundfile.read(tmp_path / "out" / "item_000" / f"level_{level}.wav")
        assert len(sound) == SAMPLES
