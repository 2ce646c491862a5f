"""Lyrics of tracks: metadata, files beside the sound, tags, and the house corpus."""

import dataclasses

import numpy as np
import pytest
import soundfile
from mutagen import id3

from jukejax.data import corpus
from jukejax.data.lrc import TimedLyrics
from jukejax.preparation import house, selection, sources
from jukejax.preparation.lyrics_source import choose_lyrics, parse_lyrics, read_lyrics_file
from jukejax.preparation.metadata import TrackLabels, read_metadata, read_tags
from jukejax.preparation.prepared_track import PreparedTrack
from jukejax.preparation.settings import Settings
from jukejax.preparation.source_list import merge_labels, read_sidecar
from tests.support.sound_files import RATE, make_song, write_file

TIMED = TimedLyrics("one\ntwo", ((0, 1.0), (4, 2.5)))


def test_plain_text_and_lrc_are_told_apart():
    assert parse_lyrics(" one \r\ntwo\r\n\r\n") == TimedLyrics("one\ntwo")
    assert parse_lyrics("[00:01.00]one\n[00:02.50]two") == TIMED
    assert parse_lyrics("") == TimedLyrics()


def test_the_column_lyrics_is_a_text_or_a_path(tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words/a.lrc").write_text("[00:01.00]one\n[00:02.50]two\n")
    table = tmp_path / "m.csv"
    table.write_text('file,lyrics\na.wav,words/a.lrc\nb.wav,"la\nla, la"\nc.wav,\n')
    lyrics = {name: labels.lyrics for name, labels in read_metadata(table).items()}
    assert lyrics == {"a.wav": TIMED, "b.wav": TimedLyrics("la\nla, la"), "c.wav": TimedLyrics()}
    table.write_text("file,lyrics\na.wav,words/b.txt\n")
    with pytest.raises(ValueError, match=r"line 2: .*words/b.txt cannot be read: No such file"):
        read_metadata(table)
    (tmp_path / "words/b.txt").write_bytes("schön".encode("latin-1"))
    with pytest.raises(ValueError, match=r"line 2: .*b.txt is not UTF-8 text; save it as UTF-8"):
        read_metadata(table)


def test_lrc_files_beside_the_sound_come_before_text_files(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.flac", "a.txt", "a.LRC", "sub/b.mp3", "sub/b.txt", "sub/notes.txt", "c.wav"):
        (tmp_path / name).write_text("[00:01.00]one\n[00:02.50]two")
    listing = sources.find_files(tmp_path)
    assert listing.lyrics == {
        "a.flac": str(tmp_path / "a.LRC"),
        "sub/b.mp3": str(tmp_path / "sub/b.txt"),
    }
    assert listing.ignored == {".txt": 2}
    assert read_sidecar(listing.lyrics["a.flac"]).lyrics == TIMED


def test_a_file_that_is_no_lyrics_is_a_note(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x" * (1 << 19))
    assert "larger than 256 kB: no lyrics of a track; it is not used" in read_sidecar(path).notes[0]
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_lyrics_file(tmp_path / "none.txt")


def test_lyrics_in_tags_of_every_kind_are_read(tmp_path):
    from mutagen import apev2, flac, wave

    text = "erste Zeile\n夜の歌"
    mp3 = tmp_path / "a.mp3"
    write_file(mp3, make_song(0.5))
    tags = id3.ID3()
    tags.add(id3.USLT(3, "eng", "", text))
    tags.save(mp3)
    wav = tmp_path / "a.wav"
    soundfile.write(wav, make_song(0.5), RATE)
    file = wave.WAVE(wav)
    file.add_tags()
    file.tags.add(id3.USLT(3, "deu", "words", text))
    file.save()
    comments = tmp_path / "a.flac"
    soundfile.write(comments, make_song(0.5), RATE)
    file = flac.FLAC(comments)
    file["UNSYNCEDLYRICS"] = text
    file.save()
    ape = tmp_path / "ape.mp3"
    write_file(ape, make_song(0.5), options={"id3v2_version": "0"})
    file = apev2.APEv2()
    file["Lyrics"] = text
    file.save(str(ape))
    movie = tmp_path / "a.m4a"
    write_file(movie, make_song(0.5), tags={"lyrics": text})
    for path in (mp3, wav, comments, ape, movie):
        labels = read_tags(str(path))
        assert (labels.lyrics, labels.notes) == (TimedLyrics(text), []), path.name
    assert read_tags(str(tmp_path / "none.wv"), {"lyrics": text}).lyrics.text == text


def test_metadata_precede_files_which_precede_tags():
    track = PreparedTrack("a", first_sample=4410, lyrics=TimedLyrics("tag"))
    beside = {"a": TrackLabels(lyrics=TIMED), "b": TrackLabels(notes=["bad"])}
    merged = merge_labels(beside, {"a": TrackLabels("x"), "b": TrackLabels(lyrics=TIMED)})
    assert merged["a"] == TrackLabels("x", lyrics=TIMED)
    assert merged["b"] == TrackLabels(lyrics=TIMED)
    ((_, labeled),) = selection.label_tracks([track], merged)
    assert (labeled.lyrics, labeled.lyric_times) == ("one\ntwo", ((0, 0.9), (4, 2.4)))
    ((_, labeled),) = selection.label_tracks([track], {})
    assert labeled.lyrics == "tag"


def test_times_after_a_cut_are_unknown():
    track = choose_lyrics(PreparedTrack("a", is_joined=True), TIMED)
    assert track.lyrics == TimedLyrics(TIMED.text)
    assert track.notes == ["passages were cut out: the times of its lyrics are unknown"]


def test_the_house_singer_has_lyrics_with_the_time_of_each_syllable():
    track = house.track(2, seconds=24)
    text, times = track.lyrics.text, track.lyrics.times
    words = text.split()
    assert len(words) == len(times) > 8
    assert [text[index:].split()[0] for index, _ in times] == words
    seconds = np.array([time for _, time in times])
    assert (np.diff(seconds) > 0).all()
    level = np.abs(track.vocal).max(axis=1)
    for start in seconds:  # the voice rises within 0.15 s
        first = int(start * 44100)
        assert level[first : first + 6615].max() > 0.01
    bars = [int(time / (240 / track.bpm)) for time in seconds]
    lines = [len(line.split()) for line in text.split("\n")]
    assert lines == [bars.count(bar) for bar in sorted(set(bars))]


def test_the_corpus_holds_lyrics_where_tracks_have_some(tmp_path):
    from jukejax.preparation import run
    from jukejax.preparation.separators import make_separator

    settings = Settings(
        input="house",
        output=str(tmp_path / "out"),
        separator=make_separator("none", None),
        house_tracks=2,
        house_seconds=(16.0, 16.0),
        house_instruments=False,
        house_lyrics=True,
        workers=1,
    )
    settings = dataclasses.replace(
        settings, rules=dataclasses.replace(settings.rules, fades="keep")
    )
    run.prepare_dataset(settings)
    dataset = corpus.open_dataset(tmp_path / "out")
    tracks = [track for split in ("train", "heldout") for track in dataset.tracks(split)]
    assert len(tracks) == 2
    for track in tracks:
        truth = house.track(int(track.name[-4:]), seconds=16.0, solo=True).lyrics
        assert track.lyrics == truth.text
        shifts = {
            round(a[1] - b[1], 3) for a, b in zip(truth.times, track.lyric_times, strict=True)
        }
        assert len(shifts) == 1
        assert min(shifts) >= 0
    characters = dataset.vocabulary.characters
    assert set(characters) == set("".join(track.lyrics for track in tracks))


def test_synchronised_lyrics_of_a_tag_keep_their_times(tmp_path):
    path = tmp_path / "a.mp3"
    write_file(path, make_song(0.5))
    tags = id3.ID3()
    tags.add(id3.USLT(3, "eng", "", "other words"))
    tags.add(id3.SYLT(3, "eng", 2, 5, "chords", [("Am", 0)]))
    tags.add(id3.SYLT(3, "eng", 1, 1, "in MPEG frames", [("word", 10)]))
    tags.add(id3.SYLT(3, "eng", 2, 1, "", [("Ju", 100), ("ke ", 200), ("box", 300)]))
    tags.save(path)
    assert read_tags(str(path)).lyrics == TimedLyrics("Juke box", ((0, 0.1), (5, 0.3)))
