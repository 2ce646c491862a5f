"""Artists and genres to ids."""

import pytest

from jukejax.data.openai_labels import OpenAIVocabulary, Version
from jukejax.data.vocabularies import (
    LenientIds,
    Vocabulary,
    extend_vocabulary,
    parse_vocabulary,
    split_genres,
)

VOCABULARY = Vocabulary.build(
    ["Kerri Chandler", "larry heard", "Larry Heard", "unknown", ""], ["Deep House", "dub", "Dub"]
)


def test_build_sorts_and_keeps_one_spelling_of_each():
    assert VOCABULARY.artists == ("unknown", "Kerri Chandler", "Larry Heard")
    assert VOCABULARY.genres == ("unknown", "Deep House", "Dub")


def test_names_match_in_any_case_and_spacing():
    assert VOCABULARY.artist_id("  LARRY   heard ") == 2
    assert VOCABULARY.artist_id("") == VOCABULARY.artist_id("Unknown") == 0
    assert VOCABULARY.genre_ids("dub; DEEP  house") == (2, 1)
    assert VOCABULARY.genre_ids("") == VOCABULARY.track_genre_ids(()) == (0,)
    assert VOCABULARY.track_genre_ids(("Dub",)) == (2,)


def test_an_unknown_name_is_refused_with_the_nearest_names():
    with pytest.raises(ValueError, match=r"no artist 'Lary Herd' .*nearest: Larry Heard, "):
        VOCABULARY.artist_id("Lary Herd")
    with pytest.raises(ValueError, match=r"no genre 'house' .*nearest: Deep House, "):
        VOCABULARY.genre_ids("house")


def test_a_vocabulary_is_read_back_from_disk(tmp_path):
    VOCABULARY.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == VOCABULARY


@pytest.mark.parametrize(
    "text",
    ["[]", '{"artists": ["unknown"]}', "no json", '{"artists": ["a"], "genres": ["unknown"]}'],
)
def test_a_file_without_a_vocabulary_is_refused(tmp_path, text):
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(ValueError, match=r"v\.json"):
        Vocabulary.load(tmp_path / "v.json")


def test_genres_are_split_at_semicolons_and_commas():
    assert split_genres(" Deep  House; minimal,Dub ;; ") == ("Deep House", "minimal", "Dub")


def test_openai_lists_are_extended_after_their_last_row():
    own = OpenAIVocabulary(
        Version.V2,
        {"unknown": 0, "": 0, "anna": 1, "dj_ben": 2},
        {"unknown": 0, "deep": 1, "house": 2},
    )
    more = Vocabulary(("unknown", "DJ Ben", "Zoë K."), ("unknown", "Deep House", "dub techno"))
    extended = extend_vocabulary(own, more)
    assert extended.artists == {
        **own.artists,
        "zo_k": 4,
    }  # row 3 is taken: OpenAI's table has one per name
    assert extended.genres == {**own.genres, "dub": 3, "techno": 4}
    assert [extended.artist_id(name) for name in ("dj ben", "Zoë K.", "")] == [2, 4, 0]
    assert extended.track_genre_ids(("Deep House", "dub house")) == (1, 2, 3)
    assert extended.track_genre_ids(()) == (0,)
    assert parse_vocabulary(extended.plain()) == extended
    assert extend_vocabulary(extended, more) == extended


def test_a_description_gives_the_vocabulary_that_it_holds():
    ours = {"artists": ["unknown", "a"], "genres": ["unknown"]}
    openai = OpenAIVocabulary(Version.V3, {"unknown": 0, "a": 1}, {"unknown": 0, "hip hop": 1})
    assert parse_vocabulary(ours) == Vocabulary(("unknown", "a"), ("unknown",))
    assert parse_vocabulary(openai.plain()) == openai


def test_a_lenient_look_up_replaces_only_the_names_that_a_model_lacks():
    names = LenientIds(VOCABULARY)
    assert names.track_genre_ids(("dub", "obscure")) == (2, 0)
    assert names.track_genre_ids(()) == (0,)
    assert (names.artist_id("larry heard"), names.artist_id("nobody")) == (2, 0)


def test_the_characters_of_the_lyrics_are_stored_and_those_of_a_model_kept(tmp_path):
    vocabulary = Vocabulary.build(["A"], ["dub"], ["夜の", "ab"])
    assert vocabulary.characters == "abの夜"
    vocabulary.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == vocabulary
    assert "characters" not in Vocabulary.build(["A"], ["dub"]).plain()
    extended = extend_vocabulary(vocabulary, Vocabulary.build(["B"], [], ["xyz"]))
    assert extended.characters == "abの夜"
    assert extended.artists == ("unknown", "A", "B")
