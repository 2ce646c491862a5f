"""Rules for silence, fade-outs, dead air, length and loudness: detection and treatment."""

import json

import numpy as np
import pytest
import soundfile

from jukejax.analysis import loudness
from jukejax.data import audio
from jukejax.preparation import house, rules, tracks
from jukejax.preparation.prepared_track import Source
from jukejax.preparation.rules import Rules
from tests.support.house_tracks import house_track

RATE = 44100


def beat(seconds=30.0, channels=2, level=0.5, seed=0):
    """Noise bursts at 120 BPM over a soft chord: as uneven in level as house."""
    random = np.random.RandomState(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    bursts = random.randn(len(time), channels) * np.exp(-12 * (time % 0.5))[:, None]
    chord = sum(np.sin(2 * np.pi * hz * time) for hz in (110, 220.5, 331.2))[:, None]
    sound = bursts + 0.2 * chord
    return (level * sound / np.abs(sound).max()).astype(np.float32)


def silence(seconds, channels=2):
    return np.zeros((round(seconds * RATE), channels), np.float32)


def faded(sound, seconds, decibels=None):
    """The end faded out: evenly in amplitude, or evenly in dB."""
    count = round(seconds * RATE)
    ramp = (
        np.linspace(1, 0, count)
        if decibels is None
        else 10 ** np.linspace(0, -decibels / 20, count)
    )
    faded = sound.copy()
    faded[-count:] *= ramp[:, None].astype(np.float32)
    return faded


class Keep:
    """A separator that removes nothing and counts its calls."""

    method, hash = "keep", ""

    def __init__(self):
        self.calls = 0

    def separate(self, mix):
        self.calls += 1
        yield mix[:]


@pytest.fixture
def make(tmp_path):
    """Runs tracks.prepare_track on a sound."""
    (tmp_path / "cache").mkdir()

    def run(sound, separator=None, **settings):
        soundfile.write(tmp_path / "a.wav", audio.to_int16(sound), RATE)
        source = Source("a.wav", path=str(tmp_path / "a.wav"))
        prepared = tracks.prepare_track(
            source, separator or Keep(), str(tmp_path / "cache"), Rules(**settings)
        )
        return prepared, np.load(prepared.array) if prepared.array else None

    return run


def test_silence_at_the_ends_is_trimmed_to_a_margin(make):
    sound = beat(10)
    prepared, stored = make(np.concatenate([silence(3), sound, silence(7)]))
    assert prepared.trimmed == pytest.approx([3 - rules.HEAD, 7 - rules.TAIL], abs=rules.STEP)
    start = round(prepared.trimmed[0] * RATE)
    lead = 3 * RATE - start
    np.testing.assert_array_equal(stored[:lead], 0)
    expected = audio.to_int16(sound)
    np.testing.assert_array_equal(stored[lead : lead + len(sound)], expected)
    assert "silence trimmed: 3.0 s at the start, 6.5 s at the end" in prepared.notes[0]


def test_a_track_without_silence_is_stored_unchanged(make):
    sound = beat(10)
    prepared, stored = make(sound)
    np.testing.assert_array_equal(stored, audio.to_int16(sound))
    assert (prepared.trimmed, prepared.notes, prepared.fade_out, prepared.dead_air) == (
        [0, 0],
        [],
        0,
        [],
    )


def test_surface_noise_is_not_silence():
    noise = 0.002 * np.random.RandomState(0).randn(5 * RATE, 2).astype(np.float32)
    survey = rules.survey_sound(np.concatenate([noise, beat(10)]))
    assert survey.start == 0


@pytest.mark.parametrize(("seconds", "decibels"), [(8, None), (12, None), (20, None), (20, 60)])
def test_a_long_fade_out_is_found_where_it_begins(seconds, decibels):
    sound = faded(beat(40), seconds, decibels)
    survey = rules.survey_sound(sound)
    begin = 40 - seconds
    assert begin - 1 < survey.fade_out / RATE < begin + 0.4 * seconds + 1
    tail = np.sqrt(np.mean(sound[survey.fade_out - RATE : survey.fade_out] ** 2))
    assert tail > 10 ** (-5 / 20) * np.sqrt(np.mean(sound[: 20 * RATE] ** 2))


def reverb(sound, seconds):
    """A last chord that decays by 60 dB in so many seconds."""
    time = np.arange(round(seconds * RATE)) / RATE
    random = np.random.RandomState(1)
    tail = 0.15 * random.randn(len(time), 2) * 10 ** (-3 * time / seconds)[:, None]
    return np.concatenate([sound, tail.astype(np.float32)])


def test_other_endings_are_not_fade_outs():
    steps = beat(48)
    for i, gain in enumerate((0.5, 0.2, 0.06)):  # instruments leave one after the other
        steps[(24 + 8 * i) * RATE : (32 + 8 * i) * RATE] *= gain
    swell = faded(beat(36), 15)
    swell[-3 * RATE :] += beat(3, level=0.1)  # comes back at the end
    endings = {
        "abrupt": beat(12),
        "quick": faded(beat(16), 2),
        "reverb": reverb(beat(16), 5.0),
        "steps": steps,
        "swell": swell,
    }
    for name, sound in endings.items():
        survey = rules.survey_sound(sound)
        assert survey.fade_out == survey.stop, name


def test_house_tracks_have_no_faults():
    for index in range(3):
        sound = house_track(index).mix
        assert rules.survey_sound(sound) == rules.Survey(0, len(sound), len(sound))


def test_fades_are_cut_kept_or_dropped(make):
    sound = faded(beat(36), 15)
    prepared, cut = make(sound)
    assert 8 < prepared.fade_out < 15
    assert prepared.notes[-1] == f"fade-out of {prepared.fade_out:.1f} s at the end: cut"
    assert len(cut) == prepared.samples == len(sound) - round(prepared.fade_out * RATE)
    assert np.abs(cut[-RATE:]).max() > 0.4 * np.abs(cut).max()
    assert np.abs(cut[-20:]).max() < 500  # no click
    prepared, whole = make(sound, fades="keep")
    assert len(whole) == len(sound)
    assert prepared.notes[-1] == f"fade-out of {prepared.fade_out:.1f} s at the end"
    prepared, _ = make(sound, fades="drop")
    assert prepared.reason == f"fade-out of {prepared.fade_out:.1f} s at the end, and --fades=drop"


def test_dead_air_is_cut_to_a_gap_kept_or_dropped(make):
    sound = np.concatenate([beat(10), silence(8), beat(7, seed=1)])
    prepared, cut = make(sound)
    assert prepared.dead_air == [[pytest.approx(10, abs=0.1), pytest.approx(8, abs=0.1)]]
    assert len(cut) / RATE == pytest.approx(17 + rules.GAP, abs=0.1)
    assert prepared.notes == ["dead air of 8.0 s at 10.0 s: cut"]
    np.testing.assert_array_equal(cut[: 10 * RATE], audio.to_int16(sound)[: 10 * RATE])
    np.testing.assert_array_equal(cut[-7 * RATE :], audio.to_int16(sound)[-7 * RATE :])
    prepared, whole = make(sound, fades="keep")
    assert (len(whole), prepared.notes) == (len(sound), ["dead air of 8.0 s at 10.0 s"])
    assert "dead air" in make(sound, fades="drop")[0].reason


def test_a_rest_is_music():
    assert rules.survey_sound(np.concatenate([beat(9), silence(1.5), beat(9)])).dead_air == ()


def test_limits_of_length_have_a_reason_and_are_not_part_of_the_cache(make):
    separator = Keep()
    sound = np.concatenate([beat(6), silence(8)])
    assert not make(sound, separator)[0].reason
    prepared, _ = make(sound, separator, min_seconds=7.0)
    assert prepared.reason == "6.5 s long, and --min_seconds=7"
    prepared, _ = make(sound, separator, max_seconds=6.0)
    assert prepared.reason == "6.5 s long, and --max_seconds=6"
    assert separator.calls == 1
    prepared, _ = make(beat(13), separator, max_seconds=12.0)
    assert prepared.reason == "13.0 s long, and --max_seconds=12"
    assert separator.calls == 1  # too long: not separated


def test_the_cache_holds_tracks_that_the_rules_drop(make):
    separator = Keep()
    first, _ = make(faded(beat(36), 15), separator, fades="drop")
    assert make(faded(beat(36), 15), separator, fades="drop")[0] == first
    assert separator.calls == 1


def test_loudness_is_that_of_the_standard():
    """ITU-R BS.1770: a 997 Hz sine at full scale in one channel is -3.01 LUFS; EBU Tech 3341, 1."""
    time = np.arange(20 * RATE) / RATE
    sine = np.sin(2 * np.pi * 997 * time)[:, None].astype(np.float32)
    left = np.concatenate([sine, 0 * sine], axis=1)
    assert loudness.measure_loudness(left) == pytest.approx(-3.01, abs=0.1)
    both = np.repeat(sine, 2, axis=1) * 10 ** (-23 / 20)
    assert loudness.measure_loudness(both) == pytest.approx(-23.0, abs=0.1)
    assert loudness.measure_loudness(both[:, :1]) == pytest.approx(
        loudness.measure_loudness(both), abs=1e-3
    )
    assert loudness.measure_loudness(1e-6 * both) is None
    assert loudness.measure_loudness(both[: RATE // 3]) is None


def test_loudness_is_recorded_and_changed_only_when_asked_for(make):
    sound = beat(10, level=0.2)
    sound[1000] = 0.9
    prepared, stored = make(sound)
    np.testing.assert_array_equal(stored, audio.to_int16(sound))
    before = prepared.loudness
    prepared, stored = make(sound, loudness=-30.0)
    assert prepared.loudness == pytest.approx(-30, abs=0.01)
    assert loudness.measure_loudness(stored / np.float32(32768)) == pytest.approx(-30, abs=0.05)
    prepared, stored = make(sound, loudness=0.0)
    assert np.abs(stored).max() in (32767, 32768)
    assert prepared.loudness == pytest.approx(before - 20 * np.log10(0.9), abs=0.02)
    assert prepared.notes == [
        f"{-prepared.loudness:.1f} dB softer than --loudness=0: louder would clip"
    ]


def test_the_fingerprint_in_the_cache_is_that_of_the_mix(tmp_path, monkeypatch):
    from jukejax.analysis import fingerprint

    monkeypatch.setattr(house, "track", house_track)
    source = Source("house", index=1, seconds=16.0)

    class Mute(Keep):
        def separate(self, mix):
            yield 0.1 * mix[:][::-1]

    prepared = tracks.prepare_track(source, Mute(), str(tmp_path), Rules())
    marks = fingerprint.Landmarks.load(prepared.fingerprint)
    expected = fingerprint.extract_landmarks(house_track(1).mix.mean(axis=1))
    np.testing.assert_array_equal(marks.hashes, expected.hashes)
    (tmp_path / prepared.fingerprint.rpartition("/")[2]).unlink()
    assert (
        tracks.prepare_track(source, Mute(), str(tmp_path), Rules()) == prepared
    )  # an incomplete entry is rewritten
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy", ".npz"]
    json.dumps(prepared.dead_air)


def test_a_track_of_vocals_alone_is_silent_without_them(make):
    class Mute(Keep):
        def separate(self, mix):
            yield 1e-5 * mix[:]

    assert make(beat(8), Mute())[0].reason == "silent after vocal removal"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_seconds": 0.1}, "--min_seconds=0.1 must be at least 0.5"),
        ({"max_seconds": 2.0}, "--max_seconds=2 must not be less than --min_seconds=5"),
        ({"fades": "loud"}, "--fades=loud is unknown; there are keep, cut, drop"),
        ({"loudness": 3.0}, "--loudness=3.0 must lie between -60 and 0 LUFS"),
    ],
)
def test_impossible_rules_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Rules(**settings)
