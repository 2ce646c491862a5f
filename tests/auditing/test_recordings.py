"""Recordings of a corpus: found by landmarks, confirmed by waveforms, at the right second."""

import numpy as np
import pytest

from jukejax.analysis.fingerprint import Index, extract_landmarks
from jukejax.auditing import evidence
from jukejax.auditing.recordings import Recordings
from tests.analysis.test_fingerprint import RATE, degrade_excerpt
from tests.support.house_tracks import house_track


@pytest.fixture(scope="module")
def tracks():
    return [house_track(i).mix.mean(axis=1).astype(np.float32) for i in range(6)]


@pytest.fixture(scope="module")
def recordings(tracks):
    def read(track, start, count):
        padded = np.pad(tracks[track], (max(-start, 0), count))
        start += max(-start, 0)
        return padded[start : start + count]

    return Recordings(Index.build([extract_landmarks(track) for track in tracks]), read)


def best(hits, what):
    return max((getattr(hit, what) for hit in hits), default=0.0)


def test_damaged_excerpts_are_the_same_waveform_and_others_are_not(tracks, recordings):
    """Softened, noisy, MP3-encoded, at any sample; against other tracks with the same drum kits."""
    random = np.random.RandomState(0)
    others = [house_track(i, seed=1).mix.mean(axis=1) for i in range(3)]
    true, false = [], []
    for i in range(12):
        start = random.randint(2 * RATE, len(tracks[0]) - 3 * RATE)
        hits = recordings.find_hits(degrade_excerpt(tracks[i % 6], start, 3.0, random))
        true.append(best([hit for hit in hits if hit.track == i % 6], "correlation"))
        other = others[i % 3]
        start = random.randint(0, len(other) - 3 * RATE)
        false.append(best(recordings.find_hits(other[start : start + 3 * RATE]), "correlation"))
    assert min(true) > 0.8
    assert max(false) < 0.7


def test_the_place_is_exact_to_three_samples_at_11025_hz(tracks, recordings):
    start = 7 * RATE + 12345
    hits = recordings.find_hits(tracks[4][start : start + 3 * RATE])
    hit = max(hits, key=lambda hit: hit.correlation)
    assert hit.track == 4
    assert hit.correlation > 0.94
    assert hit.offset_seconds == pytest.approx(start / RATE, abs=3 / 11025)
    assert hit.same == (0, 1, 2)


def test_an_inverted_copy_is_a_copy(tracks, recordings):
    hits = recordings.find_hits(-tracks[2][5 * RATE : 8 * RATE])
    assert best(hits, "correlation") > 0.94


def test_a_copied_intro_after_a_fade_out_is_found_at_the_right_second(tracks, recordings):
    """The published house run did so: a piece ends, and one of the training set follows."""
    own = house_track(2, seed=1).mix.mean(axis=1)[: 12 * RATE]
    own = own * np.clip(np.arange(len(own))[::-1] / (4 * RATE), 0, 1)
    sound = np.concatenate([own, tracks[1][: 8 * RATE]]).astype(np.float32)
    correlation = evidence.from_hits(recordings.find_hits(sound), 20)["correlation"]
    copied = correlation.values > 0.8
    assert np.nonzero(copied)[0].tolist() == list(range(12, 20))
    assert set(correlation.track[copied]) == {1}
    assert correlation.offset[copied] == pytest.approx(np.arange(8), abs=0.01)


@pytest.mark.parametrize("sound", [np.zeros(100), np.zeros(RATE), np.zeros(5 * RATE)])
def test_silence_and_sounds_too_short_have_no_hits(sound, recordings):
    assert recordings.find_hits(sound) == []
