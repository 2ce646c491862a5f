"""Separators at work: any length, no seams, the official result, where weights are found."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from jukejax.models.unet import UNetConfig
from jukejax.preparation import separators as separation
from jukejax.preparation import spleeter
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
    """Random ones of small nets."""
    random = np.random.default_rng(0)

    def draw(shape):
        return np.abs(0.3 * random.standard_normal(shape.shape)).astype(np.float32)

    tree = jax.tree.map(draw, weights_file.shapes_of(SMALL))
    path = tmp_path_factory.mktemp("weights") / weights_file.FILE
    path.write_bytes(weights_file.dump(tree, {}))
    return path


@pytest.fixture(scope="module")
def separate(weights):
    return spleeter.Spleeter(weights, config=SMALL)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No weights to be found."""
    monkeypatch.delenv(separation.VARIABLE, raising=False)
    monkeypatch.setattr(separation, "CACHED", tmp_path / "cache" / separation.FILE)
    return tmp_path


@pytest.mark.parametrize("samples", [0, 1, 5000, 10 * RATE, 12 * RATE + 1, 30 * RATE + 333])
def test_stems_add_up_to_the_mix_whatever_the_length(separate, samples):
    mix = noise(samples / RATE)
    stems = separate(mix, spleeter.CORPUS, BOTH)
    for stem in stems.values():
        assert stem.shape == mix.shape
        assert stem.dtype == np.float32
    np.testing.assert_allclose(stems["vocals"] + stems["accompaniment"], mix, atol=2e-6)


def test_the_nets_decide(separate):
    """Without which the sum above would prove little."""
    stems = separate(noise(2), spleeter.CORPUS, BOTH)
    for stem in stems.values():
        assert stem.std() > 0.01


def test_above_11_khz_the_accompaniment_keeps_all_and_officially_nobody_anything(separate):
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
            starts = spleeter.starts(samples, overlap)
            total = np.zeros(starts[-1] + spleeter.SEGMENT)
            for i, start in enumerate(starts):
                fade = spleeter.fades(i, len(starts), overlap)
                total[start : start + spleeter.SEGMENT] += fade
            frames = -(-(samples + spleeter.FRAME) // spleeter.HOP)
            assert starts[0] == 0
            assert len(total) >= frames
            assert len(starts) == 1 or starts[-1] + overlap < frames, "the last one has work"
            np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_segment_fades_into_the_next(separate, monkeypatch):
    """Nets that answer by the segment: without overlap their answers jump, with it they ramp."""
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
    mix = noise(35)
    one_by_one = separate(mix, stems=BOTH)["vocals"]
    monkeypatch.setattr(separate, "_batch", 3)
    np.testing.assert_allclose(separate(mix, stems=BOTH)["vocals"], one_by_one, atol=1e-6)


def test_silence_stays_silence(separate):
    silence = np.zeros((RATE, 2), np.float32)
    np.testing.assert_array_equal(separate(silence, stems=BOTH)["vocals"], silence)


def test_overlaps_above_half_a_segment_are_refused():
    with pytest.raises(ValueError, match="overlap 300 must lie between 0 and 256 frames"):
        spleeter.Layout(overlap=300, keep_highs=True)


def test_both_stems_are_as_official_spleeter_made_them():
    found = separation.make_separator()
    if found.method != "spleeter":
        pytest.skip("Spleeter's weights are not here: `make spleeter-weights`")
    mix, vocals, accompaniment = (
        soundfile.read(GOLDEN / f"{name}.flac", dtype="float32")[0]
        for name in ("mix", "vocals", "accompaniment")
    )
    stems = spleeter.loaded(found.weights, found.hash)(mix, spleeter.OFFICIAL, BOTH)
    assert sdr(stems["vocals"], vocals) > 60
    assert sdr(stems["accompaniment"], accompaniment) > 60


def test_without_weights_the_default_is_none(nowhere):
    separator = separation.make_separator()
    assert separator == separation.Separator("none")
    assert separator.name == "none"
    assert separator.record() == {"method": "none"}
    mix = noise(0.1)
    assert separator(mix) is mix


def test_weights_are_found_by_flag_then_variable_then_cache(nowhere, monkeypatch):
    def write(folder):
        path = nowhere / folder / separation.FILE
        path.parent.mkdir(exist_ok=True)
        path.write_text(folder)
        return str(path)

    def found(weights=None, method=None):
        separator = separation.make_separator(method, weights)
        assert separator.method == "spleeter"
        assert len(separator.hash) == 64
        return separator.weights

    assert found(method="spleeter", weights=write("flag")) == str(
        nowhere / "flag" / separation.FILE
    )
    assert write("cache") == found() == found(method="spleeter")
    monkeypatch.setenv(separation.VARIABLE, write("variable"))
    assert found() == str(nowhere / "variable" / separation.FILE)
    assert found(weights=str(nowhere / "flag")) == str(nowhere / "flag" / separation.FILE)
    first, second = (separation.make_separator(None, str(nowhere / x)) for x in ("flag", "cache"))
    assert first.hash != second.hash
    assert first.record() == {"method": "spleeter", "weights_sha256": first.hash}


def test_what_was_asked_for_and_is_not_there_is_said(nowhere, monkeypatch):
    with pytest.raises(ValueError, match="--separator=spleeter needs Deezer's weights: run `make"):
        separation.make_separator("spleeter")
    with pytest.raises(ValueError, match=r"--separator_weights=/no/file: there is no file"):
        separation.make_separator(None, "/no/file")
    with pytest.raises(ValueError, match="--separator=magic is unknown; there are none, repet, sp"):
        separation.make_separator("magic")
    with pytest.raises(ValueError, match="--separator_weights=x is for --separator=spleeter, not"):
        separation.make_separator("repet", "x")
    monkeypatch.setenv(separation.VARIABLE, "/no/file")
    with pytest.raises(ValueError, match=rf"\${separation.VARIABLE}=/no/file: there is no file"):
        separation.make_separator()


def test_a_separator_travels_and_refuses_other_weights_there(nowhere, weights):
    separator = separation.make_separator("spleeter", str(weights))
    arrived = pickle.loads(pickle.dumps(separator))
    assert arrived == separator
    other = separation.Separator("spleeter", str(weights), "0" * 64)
    with pytest.raises(ValueError, match=f"has the sha256 {separator.hash}, expected {'0' * 64}"):
        other(noise(0.1))


def test_making_a_separator_imports_no_jax_and_both_know_the_same_file():
    code = (
        "import sys; from jukejax.preparation import separators; "
        "separators.make_separator('repet'); "
        "print('jax' in sys.modules, separators.uses_accelerator())"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.stdout.split() == [b"False", b"False"]
    assert separation.FILE == weights_file.FILE


@pytest.mark.parametrize(("backend", "expected"), [("cpu", False), ("gpu", True), ("tpu", True)])
def test_an_accelerator_is_found_without_taking_it(monkeypatch, backend, expected):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    told = subprocess.CompletedProcess([], 0, stdout=f"a warning\n{backend}\n", stderr="")
    monkeypatch.setattr(separation.subprocess, "run", lambda *_, **__: told)
    separation.uses_accelerator.cache_clear()
    assert separation.uses_accelerator() is expected
    separation.uses_accelerator.cache_clear()
