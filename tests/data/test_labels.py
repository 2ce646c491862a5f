"""Artists and genres to integers and back."""

import numpy as np
import pytest

from jukejax.data.labels import Given, Vocabulary, label_vector, read_metadata, split_genres

VOCABULARY = Vocabulary.build(
    ["Kerri Chandler", "larry heard", "Larry Heard", "unknown", ""], ["Deep House", "dub", "Dub"]
)


def test_build_sorts_and_keeps_one_spelling_of_each():
    assert VOCABULARY.artists == ("unknown", "Kerri Chandler", "Larry Heard")
    assert VOCABULARY.genres == ("unknown", "Deep House", "Dub")


def test_names_match_whatever_case_and_spaces():
    assert VOCABULARY.artist_id("  LARRY   heard ") == 2
    assert VOCABULARY.artist_id("") == VOCABULARY.artist_id("Unknown") == 0
    assert VOCABULARY.genre_ids("dub; DEEP  house") == (2, 1)
    assert VOCABULARY.genre_ids("") == VOCABULARY.genre_ids(()) == (0,)
    assert VOCABULARY.genre_ids(("Dub",)) == (2,)


def test_an_unknown_name_is_answered_with_the_nearest_three():
    with pytest.raises(ValueError, match=r"no artist 'Lary Herd' .*nearest: Larry Heard, "):
        VOCABULARY.artist_id("Lary Herd")
    with pytest.raises(ValueError, match=r"no genre 'house' .*nearest: Deep House, "):
        VOCABULARY.genre_ids("house")


def test_a_vocabulary_comes_back_from_disk(tmp_path):
    VOCABULARY.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == VOCABULARY


@pytest.mark.parametrize(
    "text",
    ["[]", '{"artists": ["unknown"]}', "no json", '{"artists": ["a"], "genres": ["unknown"]}'],
)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path, text):
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(ValueError, match=r"v\.json"):
        Vocabulary.load(tmp_path / "v.json")


def test_genres_are_split_at_semicolons_and_commas():
    assert split_genres(" Deep  House; minimal,Dub ;; ") == ("Deep House", "minimal", "Dub")


def test_label_vector_is_timing_artist_and_padded_genres():
    vector = label_vector(1000, 128, 256, 7, (4, 5), 4)
    assert vector.dtype == np.int32
    assert vector.tolist() == [1000, 128, 256, 7, 4, 5, -1, -1]
    assert label_vector(1000, 128, 256, 7, (4, 5, 6), 2).tolist() == [1000, 128, 256, 7, 4, 5]


def test_metadata_is_read_with_lines_in_lyrics_and_other_systems_paths(tmp_path):
    text = (
        'File, Artist,genre,lyrics\r\nsub\\a.wav,"Heard, L.",dub; house,"la\nla"\r\n./b.wav,,,\r\n'
    )
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_metadata(tmp_path / "m.csv") == {
        "sub/a.wav": Given("Heard, L.", "dub; house"),
        "b.wav": Given(),
    }
    (tmp_path / "m.csv").write_text("name,artist\n")
    with pytest.raises(ValueError, match=r"columns name,artist; its first line must name file"):
        read_metadata(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes("file,artist\nä,b\n".encode("latin-1"))
    with pytest.raises(ValueError, match="save it as UTF-8"):
        read_metadata(tmp_path / "m.csv")
