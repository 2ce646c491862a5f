"""Near-duplicates are found and kept in one split; tracks that are only similar are not."""

import dataclasses
import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from jukejax.analysis.fingerprint import extract_landmarks
from jukejax.data import audio
from jukejax.preparation import house
from jukejax.preparation.groups import draw_heldout, find_near_duplicates
from tests.support.house_tracks import house_track

RATE = 44100
MUSIC = Path(os.environ.get("JUKEJAX_MUSIC", "/tmp/music"))


def encoded(mono, kind, rate=RATE):
    """Through a lossy codec."""
    sound = mono if rate == RATE else soxr.resample(mono, RATE, rate, quality="HQ")
    file = io.BytesIO()
    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}[kind]
    with soundfile.SoundFile(
        file, "w", rate, 1, subtype, format=kind, compression_level=0.8
    ) as writer:
        for start in range(0, len(sound), rate):  # libsndfile crashes on a long Vorbis block
            writer.write(sound[start : start + rate])
    file.seek(0)
    sound, rate = soundfile.read(file, dtype="float32")
    return soxr.resample(sound, rate, RATE, quality="HQ")


def faded(mono, seconds):
    ramp = np.clip(np.arange(len(mono))[::-1] / (seconds * RATE), 0, 1)
    return mono * ramp.astype(np.float32)


def mixed(*tracks, overlap=8.0):
    """A DJ mix: each track fades into the next."""
    count = round(overlap * RATE)
    up = np.linspace(0, 1, count, dtype=np.float32)
    result = tracks[0].copy()
    for track in tracks[1:]:
        result[-count:] = result[-count:] * (1 - up) + track[:count] * up
        result = np.concatenate([result, track[count:]])
    return result


@dataclasses.dataclass(frozen=True)
class Originals:
    """Tracks, some of which are by the same artist with the same drum kit.

    Attributes:
      excerpt: its start and end in seconds.
      removed: start and end in seconds of the part that an edit lacks.
      stranger: index of a track that is none of these.
    """

    indices: tuple[int, ...]
    seconds: float
    excerpt: tuple[int, int]
    removed: tuple[int, int]
    overlap: float
    stranger: int

    def tracks(self):
        return [house_track(i, seconds=self.seconds) for i in self.indices]


SHORT = Originals((*range(6), 8, 9), 16.0, (2, 12), (4, 10), overlap=3.0, stranger=7)
LONG = Originals(tuple(range(16)), 45.0, (5, 25), (12, 28), overlap=8.0, stranger=40)
both_lengths = pytest.mark.parametrize(
    "originals",
    [SHORT, pytest.param(LONG, marks=pytest.mark.slow)],
    ids=["8 of 16 s", "16 of 45 s"],
)


@both_lengths
def test_copies_edits_and_mixes_are_grouped_and_similar_tracks_are_not(originals):
    tracks = [track.mix.mean(axis=1) for track in originals.tracks()]
    stranger = house_track(originals.stranger, seconds=originals.seconds).mix.mean(axis=1)
    (start, end), (cut, joined) = originals.excerpt, originals.removed
    copies = {
        0: encoded(tracks[0], "MP3"),
        1: encoded(tracks[1], "OGG", 32000),
        2: 0.3 * tracks[2][start * RATE + 777 : end * RATE],
        3: np.concatenate([tracks[3][: cut * RATE], tracks[3][joined * RATE :]]),
        4: originals.tracks()[4].instrumental.mean(axis=1),
        5: mixed(tracks[5], stranger, overlap=originals.overlap),
    }
    group, links = find_near_duplicates(
        [extract_landmarks(track) for track in [*tracks, *copies.values()]]
    )
    count = len(tracks)
    assert group == [*range(count), *copies]
    assert [(link.a, link.b) for link in links] == [(i, count + i) for i in range(6)]
    assert [link.offset_seconds for link in links[:3]] == pytest.approx([0, 0, start], abs=0.1)
    assert links[0].seconds > originals.seconds * 30 / 45
    assert (end - start) / 2 < links[2].seconds <= end - start + 1


@both_lengths
def test_a_mix_joins_its_tracks_into_one_group(originals):
    tracks = [track.mix[: 30 * RATE].mean(axis=1) for track in originals.tracks()[:4]]
    mix = mixed(tracks[1], tracks[3], overlap=originals.overlap)
    group, links = find_near_duplicates([extract_landmarks(t) for t in [*tracks, mix]])
    assert group == [0, 1, 2, 1, 1]
    assert [(link.a, link.b) for link in links] == [(1, 4), (3, 4)]


def test_silence_and_single_tones_are_no_duplicates():
    time = np.arange(8 * RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * time)
    sounds = [np.zeros(8 * RATE), tone, tone + np.sin(2 * np.pi * 700 * time), np.zeros(100)]
    assert find_near_duplicates([extract_landmarks(sound) for sound in sounds]) == (
        [0, 1, 2, 3],
        [],
    )
    assert find_near_duplicates([]) == ([], [])


def test_held_out_tracks_stay_held_out_as_the_corpus_grows():
    contents = [f"{i:064x}" for i in range(2000)]
    heldout = draw_heldout(contents, 0.1)
    assert 150 < sum(heldout) < 250
    for count in (50, 500):
        shuffled = np.random.RandomState(count).permutation(2000)[:count]
        subset = draw_heldout([contents[i] for i in shuffled], 0.1, list(range(count)))
        assert subset == [heldout[i] for i in shuffled]


def test_a_group_is_in_one_split_and_does_not_move_the_others():
    contents = [f"{i:064x}" for i in range(600)]
    alone = draw_heldout(contents, 0.2)
    groups = [i - i % 3 if i < 300 else i for i in range(600)]
    heldout = draw_heldout(contents, 0.2, groups)
    for first in range(0, 300, 3):
        assert len(set(heldout[first : first + 3])) == 1
    assert heldout[300:] == alone[300:]
    assert 0.1 < np.mean(heldout[:300]) < 0.3  # large groups are not held out more often


def test_both_splits_get_a_group_when_there_are_two():
    for i in range(50):
        for share in (0.01, 0.5, 0.99):
            assert sorted(draw_heldout([f"a{i}", f"b{i}"], share)) == [False, True]
    assert draw_heldout(["a"], 0.1) == [False]
    assert draw_heldout(["a", "b"], 0.0) == [False, False]
    assert draw_heldout(["a", "b"], 0.1, [0, 0]) == [False, False]
    with pytest.raises(ValueError, match="--heldout=1"):
        draw_heldout(["a"], 1)


def test_a_long_mix_is_never_held_out():
    minute = 60 * RATE
    for i in range(50):
        contents = [f"{i}-{track}" for track in range(6)]
        lengths = [4 * minute, 120 * minute, *4 * [5 * minute]]
        heldout = draw_heldout(contents, 0.5, lengths=lengths)
        assert not heldout[1]
        assert any(heldout)
        assert draw_heldout(contents[:2], 0.1, lengths=lengths[:2]) == [True, False]
    for copies in (4, 5):  # of one song: they are as long as 4 or 5 songs
        group = [0, *[1] * copies, 6, 7, 8]
        drawn = [
            draw_heldout([f"{i}-{track}" for track in group], 0.5, group, [minute] * len(group))
            for i in range(50)
        ]
        assert any(heldout[1] for heldout in drawn) == (copies == 4)
    assert draw_heldout(["a"], 0.1, lengths=[200 * minute]) == [False]
    songs = [f"{i:064x}" for i in range(100)]
    lengths = [120 * minute if i % 2 else minute * 5 for i in range(19)] + [minute * 5] * 81
    expected = [
        drawn and lengths[i] < 6 * minute for i, drawn in enumerate(draw_heldout(songs, 0.3))
    ]
    assert draw_heldout(songs, 0.3, lengths=lengths) == expected  # the songs are drawn as before


@pytest.mark.slow
def test_ten_copies_among_60_real_tracks_are_grouped_with_their_originals():
    """50 tracks of free game music, 10 re-encodes, cuts and edits of ten of them."""
    kinds = (".ogg", ".opus", ".flac", ".mp3")
    files = sorted(path for path in MUSIC.rglob("*") if path.suffix in kinds)
    files = [path for path in files if path.stat().st_size > 1_000_000]
    files = [path for path in files if "_enhanced" not in path.stem]  # remasters of others
    if len(files) < 50:
        pytest.skip(
            f"{len(files)} real tracks in {MUSIC}; shared/music/get_music.sh fetches more, "
            "$JUKEJAX_MUSIC names their folder"
        )
    step = len(files) / 50
    files = [files[int(i * step)] for i in range(50)]
    tracks = [audio.load_audio(path).samples[: 100 * RATE].mean(axis=1) for path in files]
    sources = tracks[2::5]
    copies = [
        encoded(sources[0], "MP3"),
        encoded(sources[1], "OGG"),
        encoded(sources[2], "OGG", 32000),
        encoded(0.2 * sources[3], "MP3"),
        sources[4][20 * RATE + 123 : 50 * RATE],  # a cut
        encoded(sources[5][-45 * RATE :], "MP3"),
        np.concatenate([sources[6][: 30 * RATE], sources[6][50 * RATE :]]),  # a part taken out
        np.concatenate([sources[7][40 * RATE :], sources[7][: 20 * RATE]]),  # parts exchanged
        faded(np.pad(sources[8], (3 * RATE, 0))[: 60 * RATE], 10),
        mixed(house.track(0, seconds=30.0).mix.mean(axis=1), sources[9]),
    ]
    group, links = find_near_duplicates([extract_landmarks(track) for track in [*tracks, *copies]])
    for link in links:
        print(link, files[link.a].name)
    assert group[50:] == list(range(2, 50, 5))
    assert [(files[link.a].name, files[link.b].name) for link in links if link.b < 50] == []
