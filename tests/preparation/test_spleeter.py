"""Separation by Spleeter: any length, no seams, the official result."""

import pickle
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from jukejax.models.unet import UNetConfig
from jukejax.preparation import separators, spleeter
from jukejax.weights import spleeter as weights_file

GOLDEN = Path(__file__).parents[1] / "golden" / "spleeter"
RATE = spleeter.SAMPLE_RATE
SMALL = UNetConfig(features=(2, 3))
BOTH = SMALL.stems


def noise(seconds, channels=2, seed=0):
    samples = round(seconds * RATE)
    return 0.1 * np.random.default_rng(seed).standard_normal((samples, channels), np.float32)


def sdr(estimate, truth):
    truth = truth.astype(np.float64)
    return 10 * np.log10(np.sum(truth**2) / np.sum((truth - estimate) ** 2))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of small nets."""
    random = np.random.default_rng(0)

    def draw(shape):
        return np.abs(0.3 * random.standard_normal(shape.shape)).astype(np.float32)

    tree = jax.tree.map(draw, weights_file.variable_shapes(SMALL))
    path = tmp_path_factory.mktemp("weights") / weights_file.FILE
    path.write_bytes(weights_file.serialize_weights(tree, {}))
    return path


@pytest.fixture(scope="module")
def separate(weights):
    return spleeter.Spleeter(weights, config=SMALL)


@pytest.mark.parametrize(
    "samples",
    [
        0,
        1,
        pytest.param(5000, marks=pytest.mark.slow),
        pytest.param(10 * RATE, marks=pytest.mark.slow),
        12 * RATE + 1,
        20 * RATE + 333,
    ],
)
def test_stems_add_up_to_the_mix_whatever_the_length(separate, samples):
    mix = noise(samples / RATE)
    stems = separate(mix, spleeter.CORPUS, BOTH)
    for stem in stems.values():
        assert stem.shape == mix.shape
        assert stem.dtype == np.float32
    np.testing.assert_allclose(stems["vocals"] + stems["accompaniment"], mix, atol=2e-6)


def test_the_nets_give_both_stems_a_share(separate):
    """Otherwise the sum above would prove little."""
    stems = separate(noise(2), spleeter.CORPUS, BOTH)
    for stem in stems.values():
        assert stem.std() > 0.01


def test_above_11_khz_the_accompaniment_keeps_everything_and_official_stems_are_empty(separate):
    time = np.arange(2 * RATE)[:, None] / RATE
    ramp = np.clip(np.minimum(time, 2 - time) * 4, 0, 1)  # a sudden start would reach below
    high = (0.1 * ramp * np.sin(2 * np.pi * 13000 * time) * [1, 0.5]).astype(np.float32)
    ours = separate(high, spleeter.CORPUS, BOTH)
    assert sdr(ours["accompaniment"], high) > 60
    assert np.abs(ours["vocals"]).max() < 1e-4
    for stem in separate(high, spleeter.OFFICIAL, BOTH).values():
        assert np.abs(stem).max() < 1e-4


def test_a_mix_of_one_segment_is_the_official_one_below_11_khz(separate):
    time = np.arange(5 * RATE)[:, None] / RATE
    mix = sum(np.sin(2 * np.pi * f * time + [0, f]) for f in range(100, 5000, 333)) * 0.02
    mix = (mix * np.clip(np.minimum(time, 5 - time) * 4, 0, 1)).astype(np.float32)
    ours, official = (separate(mix, x, BOTH) for x in (spleeter.CORPUS, spleeter.OFFICIAL))
    for stem in BOTH:
        assert official[stem].std() > 1e-3
        np.testing.assert_allclose(ours[stem], official[stem], atol=1e-5)


def test_segments_cover_every_frame_with_weights_that_sum_to_one():
    for samples in (0, 1, 100_000, 508 * 1024, 509 * 1024, 40 * RATE, 100 * RATE):
        for overlap in (0, 1, 128, 256):
            starts = spleeter.segment_starts(samples, overlap)
            total = np.zeros(starts[-1] + spleeter.SEGMENT)
            for i, start in enumerate(starts):
                weights = spleeter.segment_weights(i, len(starts), overlap)
                total[start : start + spleeter.SEGMENT] += weights
            frames = -(-(samples + spleeter.FRAME) // spleeter.HOP)
            assert starts[0] == 0
            assert len(total) >= frames
            assert len(starts) == 1 or starts[-1] + overlap < frames, "the last one has work"
            np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_segment_fades_into_the_next(separate, monkeypatch):
    """Masks differ from segment to segment: without overlap they jump, with it they ramp."""
    mix = np.full((30 * RATE, 2), 0.5, np.float32)

    def by_segment(self, audio, weights, stems, keep_highs):
        gain = by_segment.calls % 2
        by_segment.calls += 1
        shares = np.repeat(weights, spleeter.HOP, axis=1)[:, :, None] * gain
        stereo = np.broadcast_to(shares, (*shares.shape[:2], 2))
        return {stems[0]: np.pad(stereo, ((0, 0), (0, 3072), (0, 0)))}

    monkeypatch.setattr(spleeter.Spleeter, "_separate", by_segment)
    steps = {}
    for name, layout in (("jump", spleeter.OFFICIAL), ("ramp", spleeter.CORPUS)):
        by_segment.calls = 0
        separated = separate(mix, layout)["accompaniment"]
        steps[name] = np.abs(np.diff(separated[:: spleeter.HOP, 0])).max()
    assert steps["jump"] == 1
    assert steps["ramp"] < 1.01 / spleeter.CORPUS.overlap


def test_mono_is_separated_as_two_equal_channels(separate):
    mono = noise(3, channels=1)
    stereo = separate(np.repeat(mono, 2, axis=1), stems=BOTH)["vocals"].mean(1, keepdims=True)
    ours = separate(mono, stems=BOTH)["vocals"]
    assert ours.shape == mono.shape
    np.testing.assert_allclose(ours, stereo, atol=1e-6)
    with pytest.raises(ValueError, match="mono or stereo, not 3 channels"):
        separate(noise(1, channels=3))


def test_several_segments_at_once_give_the_same(separate, monkeypatch):
    mix = noise(20)  # three segments
    one_by_one = separate(mix, stems=BOTH)["vocals"]
    monkeypatch.setattr(separate, "_batch", 2)
    np.testing.assert_allclose(separate(mix, stems=BOTH)["vocals"], one_by_one, atol=1e-6)


def test_silence_stays_silence(separate):
    silence = np.zeros((RATE, 2), np.float32)
    np.testing.assert_array_equal(separate(silence, stems=BOTH)["vocals"], silence)


def test_overlaps_above_half_a_segment_are_refused():
    with pytest.raises(ValueError, match="overlap 300 must lie between 0 and 256 frames"):
        spleeter.Layout(overlap=300, keep_highs=True)


def test_both_stems_equal_those_of_official_spleeter():
    separator = separators.make_separator()
    if separator.method != "spleeter":
        pytest.skip("Spleeter's weights are not here: `make spleeter-weights`")
    mix, vocals, accompaniment = (
        soundfile.read(GOLDEN / f"{name}.flac", dtype="float32")[0]
        for name in ("mix", "vocals", "accompaniment")
    )
    stems = spleeter.load_spleeter(separator.weights, separator.hash)(mix, spleeter.OFFICIAL, BOTH)
    assert sdr(stems["vocals"], vocals) > 60
    assert sdr(stems["accompaniment"], accompaniment) > 60


def test_a_separator_can_be_pickled_and_refuses_other_weights(weights):
    separator = separators.make_separator("spleeter", str(weights))
    unpickled = pickle.loads(pickle.dumps(separator))
    assert unpickled == separator
    other = separators.Separator("spleeter", str(weights), "0" * 64)
    with pytest.raises(ValueError, match=f"has the sha256 {separator.hash}, expected {'0' * 64}"):
        list(other.separate(noise(0.1)))
