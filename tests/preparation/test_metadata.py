"""Labels from metadata files and from tags."""

import mutagen
import pytest
import soundfile
from mutagen import id3

from jukejax.data import decoding
from jukejax.data.lrc import TimedLyrics
from jukejax.preparation.metadata import TrackLabels, read_metadata, read_tags
from jukejax.preparation.prepared_track import GridText
from tests.support.sound_files import RATE, make_song, write_file


def test_metadata_is_read_with_lines_in_lyrics_and_other_systems_paths(tmp_path):
    text = (
        'File, Artist,genre,lyrics\r\nsub\\a.wav,"Heard, L.",dub; house,"la\nla"\r\n./b.wav,,,\r\n'
    )
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_metadata(tmp_path / "m.csv") == {
        "sub/a.wav": TrackLabels("Heard, L.", "dub; house", lyrics=TimedLyrics("la\nla")),
        "b.wav": TrackLabels(),
    }
    (tmp_path / "m.csv").write_text("name,artist\n")
    with pytest.raises(ValueError, match=r"columns name,artist; its first line must name file"):
        read_metadata(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes("file,artist\nä,b\n".encode("latin-1"))
    with pytest.raises(ValueError, match="save it as UTF-8"):
        read_metadata(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.wav,Earth, Wind & Fire,Disco\n", r"line 2: 4 fields for 3 columns; put a name"),
        ('a.wav,"Moodymann,House\nb.wav,A,House\n', "line 2: a double quote is never closed"),
        ("a.wav,A,x\n\n./a.wav,B,y\n", r"line 4: a.wav is listed twice, first in line 2"),
        ('a.wav,A,x\nb.wav,"A"B,x\n', r"line 3: ',' expected after '\"'"),
        (f"a.wav,{'x' * 200_000},y\n", r"line 2: field larger than field limit \(131072\)"),
        (" ,A,x\n", "line 2: the file is not named"),
        ("a.wav,A\0,x\n", "line 2: a NUL byte"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(tmp_path, rows, message):
    (tmp_path / "m.csv").write_text("file,artist,genre\n" + rows)
    with pytest.raises(ValueError, match=message):
        read_metadata(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("file,artist name,genres", r"columns file,artist name,genres; its first line must name"),
        ("file,artist,Genres", r"a column 'genres' and no 'genre': rename"),
        ("file,artist,genre,artist", r"two columns artist; remove one"),
    ],
)
def test_columns_whose_labels_would_be_lost_are_refused(tmp_path, columns, message):
    (tmp_path / "m.csv").write_text(f"{columns}\na.wav,A,House\n")
    with pytest.raises(ValueError, match=message):
        read_metadata(tmp_path / "m.csv")


def test_other_columns_of_a_table_are_not_read(tmp_path):
    (tmp_path / "m.csv").write_text("title,file,year,genre,artist_id\nX,a.wav,1994,House,7\n")
    with pytest.raises(ValueError, match="no 'artist': rename"):
        read_metadata(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text("title,file,year,genre,\nX,a.wav,1994,House,\n")
    assert read_metadata(tmp_path / "m.csv") == {"a.wav": TrackLabels("", "House")}


def test_absolute_paths_of_the_input_are_understood(tmp_path):
    (tmp_path / "m.csv").write_text(f"file,artist\n{tmp_path}/sub/a.wav,A\n/else/b.wav,B\n")
    labels = read_metadata(tmp_path / "m.csv", str(tmp_path))
    assert list(labels) == ["sub/a.wav", "/else/b.wav"]


def write_id3(path, version=4, encoding=3, artists=("Larry Heard",), genres=("Deep House",)):
    tags = id3.ID3()
    tags.add(id3.TPE1(encoding, list(artists)))
    tags.add(id3.TCON(encoding, list(genres)))
    tags.save(path, v2_version=version, v23_sep="/")


def test_several_values_of_id3_have_no_nul_in_their_names(tmp_path):
    from mutagen import wave

    path = tmp_path / "a.wav"
    soundfile.write(path, make_song(0.5), RATE)
    file = wave.WAVE(path)
    file.add_tags()
    file.tags.add(id3.TPE1(3, ["Kerri Chandler", "Jerome Sydenham"]))
    file.tags.add(id3.TCON(3, ["Deep House", "(18)"]))
    file.save()
    labels = read_tags(str(path))
    assert (labels.artist, labels.genre) == ("Kerri Chandler", "Deep House; Techno")
    assert labels.notes == ["artists Kerri Chandler, Jerome Sydenham: labeled as the first"]


def test_tags_of_every_container_are_read(tmp_path):
    from mutagen import apev2, flac

    expected = ("Larry Heard", "Deep House")
    tags = {"artist": expected[0], "genre": expected[1]}
    paths = [tmp_path / name for name in ("a.webm", "a.m4a", "a.opus", "a.wma", "a.mp3")]
    for path in paths:
        rate = 48000 if path.suffix in (".webm", ".opus") else RATE
        write_file(path, make_song(0.5, rate=rate), rate, tags=tags)
    adts = tmp_path / "id3.aac"
    write_file(adts, make_song(0.5))
    write_id3(adts)
    tagged = tmp_path / "id3.flac"
    soundfile.write(tagged, make_song(0.5), RATE)
    write_id3(tagged)
    comments = tmp_path / "a.flac"
    soundfile.write(comments, make_song(0.5), RATE)
    file = flac.FLAC(comments)
    file["artist"], file["genre"] = [[value] for value in expected]
    file.save()
    ape = tmp_path / "ape.mp3"
    write_file(ape, make_song(0.5), options={"id3v2_version": "0"})
    file = apev2.APEv2()
    file["Artist"], file["Genre"] = expected
    file.save(str(ape))
    info = tmp_path / "info.wav"
    soundfile.write(info, make_song(0.5), RATE)
    chunk = b"INFOIART\x0c\0\0\0Larry Heard\0IGNR\x0b\0\0\0Deep House\0\0"
    info.write_bytes(info.read_bytes() + b"LIST" + len(chunk).to_bytes(4, "little") + chunk)
    for path in (*paths, adts, tagged, comments, ape, info):
        with decoding.open_sound(path) as sound:
            labels = read_tags(str(path), sound.tags)
        assert (labels.artist, labels.genre, labels.notes) == (*expected, []), path.name


def test_genres_of_version_3_are_separated_by_slashes_and_artists_are_not(tmp_path):
    path = tmp_path / "a.mp3"
    write_file(path, make_song(0.5))
    write_id3(path, version=3, artists=["AC/DC"], genres=["Deep House", "Techno"])
    labels = read_tags(str(path))
    assert (labels.artist, labels.genre) == ("AC/DC", "Deep House; Techno")


def test_latin_1_of_another_code_page_has_a_note(tmp_path):
    path = tmp_path / "a.mp3"
    write_file(path, make_song(0.5))
    foreign = "Кино".encode("cp1251").decode("latin-1")
    write_id3(path, version=3, encoding=0, artists=[foreign], genres=["House"])
    labels = read_tags(str(path))
    assert labels.artist == foreign
    assert "most likely of another code page" in labels.notes[0]
    write_id3(path, version=3, encoding=0, artists=["Röyksopp"], genres=["Électro"])
    assert read_tags(str(path)).notes == []


@pytest.mark.parametrize(
    ("artist", "encoding", "expected", "is_doubted"),
    [
        ("Âme", "cp1252", "Âme", False),
        ("Kölsch", "utf-8", "Kölsch", False),
        ("Кино", "cp1251", "Êèíî", True),
    ],
)
def test_info_tags_of_windows_keep_their_letters(tmp_path, artist, encoding, expected, is_doubted):
    path = tmp_path / "a.wav"
    soundfile.write(path, make_song(0.5), RATE)
    text = artist.encode(encoding) + b"\0"
    chunk = b"INFOIART" + len(text).to_bytes(4, "little") + text + b"\0" * (len(text) % 2)
    path.write_bytes(path.read_bytes() + b"LIST" + len(chunk).to_bytes(4, "little") + chunk)
    with decoding.open_sound(path) as sound:
        labels = read_tags(str(path), sound.tags)
    assert labels.artist == expected
    assert bool(labels.notes) == is_doubted


def test_a_file_that_mutagen_fails_on_has_the_tags_of_its_container(tmp_path):
    path = tmp_path / "a.wv"
    write_file(path, make_song(0.5, rate=44056), 44056)
    with pytest.raises(IndexError):  # its table of rates ends at 192 kHz
        mutagen.File(path)
    assert read_tags(str(path), {"artist": "Larry Heard"}).artist == "Larry Heard"


def test_columns_of_the_grid_are_read_and_checked(tmp_path):
    (tmp_path / "m.csv").write_text("file,bpm,first_beat,key\na.wav,124,0.25,8A\nb.wav,,,\n")
    labels = read_metadata(tmp_path / "m.csv")
    assert labels["a.wav"].grid == GridText("124", "0.25", "8A")
    assert labels["b.wav"].grid == GridText()
    for values, message in (
        ("fast,,", "line 2: bpm 'fast' is no number"),
        ("999,,", "line 2: bpm=999 must be 20 to 400"),
        (",-1,", "line 2: first_beat '-1' must be 0 to 86400 s"),
        (",,H", "line 2: 'H' is no key"),
    ):
        (tmp_path / "m.csv").write_text(f"file,bpm,first_beat,key\na.wav,{values}\n")
        with pytest.raises(ValueError, match=message):
            read_metadata(tmp_path / "m.csv")
