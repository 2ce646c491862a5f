"""OpenAI's lists of artists and genres, read from files written here."""

import pytest

from jukejax.data import openai_labels
from jukejax.data.openai_labels import OpenAIVocabulary, Version
from tests.support.openai_lists import read_lists

V2_ARTISTS = "unknown;0\nvarious;0\n;0\nac_dc;1\nc_line_dion;2\nmuddy_waters;3\nmuddy_river;4\n"
V2_GENRES = "unknown;0\nblues;1\nrock;2\nr;3\nb;4\nhip;5\nhop;6\n"
V3_ARTISTS = "unknown;0\nAC/DC;1\ncéline dion;2\nmuddy waters;3\nmuddy waters trio;3\n"
V3_GENRES = "unknown;0\nblues rock;1\nr&b;2\nhip hop;3\n"


@pytest.fixture
def folder(tmp_path):
    for name, text in {
        "v2_artist_ids.txt": V2_ARTISTS,
        "v2_genre_ids.txt": V2_GENRES,
        "v3_artist_ids.txt": V3_ARTISTS,
        "v3_genre_ids.txt": V3_GENRES,
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def v2(folder):
    return read_lists(folder, "v2")


@pytest.fixture
def v3(folder):
    return read_lists(folder, "v3")


def test_version_2_spells_names_with_letters_digits_and_underscores(v2):
    assert v2.artist_id("AC/DC") == 1
    assert v2.artist_id(" Céline  Dion! ") == 2


def test_version_3_keeps_names_except_for_their_case(v3):
    assert v3.artist_id("ac/dc") == v3.artist_id("AC/DC") == 1
    assert v3.artist_id("Céline  Dion") == 2
    assert v3.genre_ids("R&B") == (2,)


def test_version_2_splits_a_genre_into_words(v2, v3):
    assert v2.genre_ids("Blues Rock") == (1, 2)
    assert v2.genre_ids("r&b") == (3, 4)
    assert v3.genre_ids("Blues Rock") == (1,)


def test_no_name_at_all_is_unknown(v2, v3):
    for vocabulary in (v2, v3):
        assert vocabulary.artist_id("") == 0
        assert vocabulary.artist_id("unknown") == 0
        assert vocabulary.genre_ids(" ") == (0,)


def test_an_unknown_name_is_refused_with_the_three_nearest(v2, v3):
    with pytest.raises(
        ValueError, match="no artist 'Mudy Waters' in the vocabulary; nearest: muddy_waters, muddy"
    ):
        v2.artist_id("Mudy Waters")
    with pytest.raises(ValueError, match=r"no genre word \(of 'Blues Trip'\) 'trip'.*: hip, r, "):
        v2.genre_ids("Blues Trip")
    with pytest.raises(ValueError, match=r"no genre 'blues' in .* nearest: blues rock"):
        v3.genre_ids("Blues")


def test_lenient_look_ups_give_unknown_as_openai_does(v2, v3):
    assert v2.artist_id("nobody", lenient=True) == 0
    assert v2.genre_ids("Blues Trip", lenient=True) == (1, 0)
    assert v3.genre_ids("Blues Trip", lenient=True) == (0,)
    assert len(v2.genre_ids("one two three four five six", lenient=True)) == 6


def test_more_words_than_the_model_takes_are_refused(v2):
    with pytest.raises(ValueError, match="has 6 words, but the model takes at most 5"):
        v2.genre_ids("blues rock hip hop r&b")
    assert v2.genre_ids("blues rock hip hop b") == (1, 2, 5, 6, 4)


def test_a_vocabulary_is_read_back_from_json(v2):
    assert OpenAIVocabulary.from_plain(v2.plain()) == v2
    with pytest.raises(ValueError, match="needs 'version'"):
        OpenAIVocabulary.from_plain({"artists": {}, "genres": {}})


def test_the_released_tables_have_a_row_for_every_name_and_every_id(v2, v3):
    assert openai_labels.count_rows(v2.artists) == 7  # ids 0 to 4, three names for 0
    assert openai_labels.count_rows(v3.genres) == 4
    assert openai_labels.count_rows({"a": 1, "b": 4}) == 5


def test_of_a_name_given_twice_the_last_line_counts(tmp_path):
    (tmp_path / "ids").write_text("a;1\r\nA;2\r\n\r\n", encoding="utf-8", newline="")
    assert openai_labels.read_ids(tmp_path / "ids") == {"a": 2}


@pytest.mark.parametrize("line", ["just a name", "name;", "name;-1", "name;x", "name;99999999999"])
def test_a_malformed_line_is_named(tmp_path, line):
    (tmp_path / "ids").write_text(f"good;1\n{line}\n")
    with pytest.raises(ValueError, match=r"ids line 2 is .*expected a name and its id"):
        openai_labels.read_ids(tmp_path / "ids")


def test_files_that_are_no_lists_are_refused(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe;1")
    with pytest.raises(ValueError, match="holds no ids"):
        openai_labels.read_ids(tmp_path / "empty")
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        openai_labels.read_ids(tmp_path / "binary")
    with pytest.raises(ValueError, match="cannot be read"):
        openai_labels.read_ids(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"v3_artist_ids.txt is missing"):
        read_lists(tmp_path, Version.V3)
