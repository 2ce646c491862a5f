"""Search for sound files."""

import os

import numpy as np
import pytest

from jukejax.preparation import sources


def test_sources_are_sorted_and_hidden_files_are_ignored(tmp_path):
    (tmp_path / "sub" / ".hidden").mkdir(parents=True)
    names = ("two.flac", "sub/three.ogg", "four.MP3", "labels.csv", "cover.jpg")
    for name in (*names, "sub/.hidden/no.wav", ".no.wav"):
        (tmp_path / name).touch()
    listing = sources.find_files(tmp_path)
    assert [source.name for source in listing.sources] == ["four.MP3", "sub/three.ogg", "two.flac"]
    assert all(source.path == str(tmp_path / source.name) for source in listing.sources)
    assert listing.ignored == {".csv": 1, ".jpg": 1}


def test_links_are_followed_once_and_cycles_end(tmp_path):
    music, elsewhere = tmp_path / "music", tmp_path / "elsewhere"
    (elsewhere / "lp").mkdir(parents=True)
    music.mkdir()
    for path in (elsewhere / "lp" / "one.wav", elsewhere / "two.wav", music / "here.wav"):
        path.touch()
    (music / "linked").symlink_to(elsewhere / "lp")
    (music / "linked again").symlink_to(elsewhere / "lp")
    (music / "two.wav").symlink_to(elsewhere / "two.wav")
    (music / "cycle").symlink_to(music)
    names = [source.name for source in sources.find_files(music).sources]
    assert names == ["here.wav", "linked/one.wav", "two.wav"]


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.wav").touch()
    scandir = os.scandir

    def refuse(path):  # permissions do not stop root
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = sources.find_files(tmp_path)
    assert [source.name for source in listing.sources] == ["a.wav"]
    assert listing.unreadable == [f"{tmp_path / 'closed'} (Permission denied)"]


def test_names_that_are_not_utf8_are_listed_with_escapes(tmp_path):
    open(os.fsencode(tmp_path) + b"/\xff.wav", "w").close()
    (source,) = sources.find_files(tmp_path).sources
    assert source.name == "\\udcff.wav"
    assert os.path.exists(source.path)


def test_tracks_of_the_corpus_draw_their_lengths_from_a_range():
    tracks = sources.list_house_tracks(200, (24.0, 64.0), seed=0)
    lengths = np.array([track.seconds for track in tracks])
    assert 24 <= lengths.min() <= lengths.max() <= 64
    assert np.histogram(lengths, 4, (24, 64))[0].min() > 30
    fewer = sources.list_house_tracks(3, (24.0, 64.0), seed=0)
    assert [track.seconds for track in fewer] == lengths[:3].tolist()
    other = sources.list_house_tracks(3, (24.0, 64.0), seed=1)
    assert other[0].seconds != lengths[0]


def test_length_of_the_tracks_is_a_number_or_a_range():
    assert sources.parse_length("45") == (45.0, 45.0)
    assert sources.parse_length("24:64.5") == (24.0, 64.5)
    for text in ("long", "1:2:3", ""):
        with pytest.raises(ValueError, match=f"--house_seconds={text} is no number of seconds"):
            sources.parse_length(text)
    for length in ((64.0, 24.0), (0.0, 24.0)):
        with pytest.raises(ValueError, match="both must be above 0, and the shorter"):
            sources.list_house_tracks(2, length, seed=0)
