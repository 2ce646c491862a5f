"""Landmarks: degraded recordings are recognized, and others are not confused with them."""

import io

import numpy as np
import pytest
import soundfile

from jukejax.analysis import fingerprint
from jukejax.analysis.fingerprint import FRAMES_PER_SECOND, Index, extract_landmarks
from tests.support.house_tracks import house_track

RATE = 44100


def degrade_excerpt(mono, start, seconds, random):
    """Returns an excerpt, 12 dB softer, in noise 10 dB below it, through MP3 at 64 kbit/s."""
    piece = mono[start : start + round(seconds * RATE)] * 10 ** (-12 / 20)
    noise = random.randn(len(piece))
    piece = piece + noise * np.sqrt(np.mean(piece**2) / np.mean(noise**2)) * 10 ** (-10 / 20)
    file = io.BytesIO()
    settings = {"bitrate_mode": "CONSTANT", "compression_level": 0.9}
    soundfile.write(file, piece, RATE, format="MP3", subtype="MPEG_LAYER_III", **settings)
    assert len(file.getvalue()) * 8 / seconds <= 68_000
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


@pytest.fixture(scope="module")
def tracks():
    return [house_track(i).mix.mean(axis=1) for i in range(8)]


@pytest.fixture(scope="module")
def index(tracks):
    return Index.build([extract_landmarks(track) for track in tracks])


few_and_many = pytest.mark.parametrize(
    ("count", "tolerated"), [(10, 0), pytest.param(24, 1, marks=pytest.mark.slow)]
)


@few_and_many
def test_degraded_excerpts_of_3_seconds_are_found(tracks, index, count, tolerated):
    random = np.random.RandomState(0)
    num_correct = 0
    for i in range(count):
        start = random.randint(4 * RATE, len(tracks[i % 8]) - 3 * RATE)
        query = extract_landmarks(degrade_excerpt(tracks[i % 8], start, 3.0, random), excerpt=True)
        matches = index.find_matches(query)
        if matches and matches[0].track == i % 8:
            num_correct += 1
            assert 0 <= matches[0].start_seconds < matches[0].end_seconds < 3.2
    assert num_correct >= count - tolerated


def test_the_offset_and_the_votes_of_a_clean_excerpt_are_exact(tracks, index):
    start = 301 * fingerprint.HOP * 4  # a whole frame of the original
    piece = tracks[3][start : start + 5 * RATE]
    query = extract_landmarks(piece)
    match = index.find_matches(query, min_votes=20)[0]
    assert match.track == 3
    assert match.offset_seconds == pytest.approx(start / RATE, abs=1.5 / FRAMES_PER_SECOND)
    assert match.votes > 60


@few_and_many
def test_other_tracks_are_not_found(index, count, tolerated):
    """Searches for other tracks of the same artists with the same drum kits."""
    random = np.random.RandomState(1)
    others = [house_track(i, seed=1).mix.mean(axis=1) for i in range(3)]
    false_alarms = 0
    for i in range(count):
        mono = others[i % 3]
        start = random.randint(0, len(mono) - 3 * RATE)
        piece = degrade_excerpt(mono, start, 3.0, random)
        false_alarms += bool(index.find_matches(extract_landmarks(piece, excerpt=True)))
    assert false_alarms <= tolerated


def test_landmarks_are_pairs_of_peaks():
    """Pairs two short tones 0.5 s and 300 Hz apart into one landmark."""
    mono = np.zeros(3 * fingerprint.SAMPLE_RATE, np.float32)
    time = np.arange(1024) / fingerprint.SAMPLE_RATE
    for start, hertz in ((8000, 1000.0), (8000 + 5512, 1300.0)):
        mono[start : start + 1024] = np.hanning(1024) * np.sin(2 * np.pi * hertz * time)
    landmarks = extract_landmarks(mono, fingerprint.SAMPLE_RATE)
    bins = fingerprint.N_FFT / fingerprint.SAMPLE_RATE
    first, up = round(1000 * bins), round(1300 * bins) - round(1000 * bins)
    frames = round(5512 / fingerprint.HOP)
    hashes = [first << 14 | (up + fingerprint.MAX_BINS) << 6 | n for n in (frames, frames + 1)]
    assert len(landmarks.hashes) == 1
    assert landmarks.hashes[0] in hashes
    center = 8000 + 512 - fingerprint.N_FFT / 2
    assert landmarks.times[0] == pytest.approx(center / fingerprint.HOP, abs=1)


def test_blockwise_extraction_gives_the_same_landmarks(tracks, monkeypatch):
    expected = extract_landmarks(tracks[0])
    monkeypatch.setattr(fingerprint, "_BLOCK", 100)
    blockwise = extract_landmarks(tracks[0])
    np.testing.assert_array_equal(expected.hashes, blockwise.hashes)
    np.testing.assert_array_equal(expected.times, blockwise.times)


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(100), np.zeros(RATE)])
def test_silence_and_empty_sounds_have_no_landmarks(sound, index):
    landmarks = extract_landmarks(sound)
    assert len(landmarks.hashes) == 0
    assert index.find_matches(landmarks) == []
    assert Index.build([landmarks]).find_matches(landmarks) == []
    assert (
        Index.build([]).find_matches(extract_landmarks(np.random.RandomState(0).randn(RATE))) == []
    )


def test_an_index_and_landmarks_survive_saving(tracks, index, tmp_path):
    query = extract_landmarks(tracks[5][10 * RATE : 14 * RATE])
    query.save(tmp_path / "query.npz")
    index.save(tmp_path / "index.npz")
    again = fingerprint.Landmarks.load(tmp_path / "query.npz")
    assert again.frames == query.frames
    assert Index.load(tmp_path / "index.npz").find_matches(again) == index.find_matches(query) != []


def test_votes_are_the_same_in_blocks_and_of_earlier_tracks_only(monkeypatch):
    random = np.random.default_rng(0)
    marks = [
        fingerprint.Landmarks(
            random.integers(0, 50, 300).astype(np.uint32),
            np.sort(random.integers(0, 1000, 300)).astype(np.int32),
            1000,
        )
        for _ in range(5)
    ]
    index = fingerprint.Index.build(marks)
    whole = index.find_votes(marks[3])
    monkeypatch.setattr(fingerprint, "_VOTES", 7)
    blocks, earlier = index.find_votes(marks[3]), index.find_votes(marks[3], before=2)
    assert len(whole.track) > 1000
    for name in ("track", "offset", "row"):
        np.testing.assert_array_equal(getattr(blocks, name), getattr(whole, name))
        np.testing.assert_array_equal(getattr(earlier, name), getattr(whole, name)[whole.track < 2])
