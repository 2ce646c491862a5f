"""Characters of lyrics, and those that condition a window of audio."""

import builtins

import numpy as np
import pytest

from jukejax.data import lyrics
from jukejax.data.openai_labels import Version

SONG = {"total_samples": 1000, "sample_length": 100}


V2, V3 = lyrics.ALPHABETS[Version.V2], lyrics.ALPHABETS[Version.V3]


def test_vocabularies_have_the_sizes_of_the_released_models():
    assert V2.size == 80
    assert V3.size == 79


def test_only_version_2_has_the_plus():
    assert V2.clean("a + b") == "a + b"
    assert V3.clean("a + b") == "a  b"
    assert "+" in V2.ids
    assert "+" not in V3.ids


def test_cleaning_keeps_line_ends_and_turns_backslashes_into_them():
    assert V3.clean("one\ntwo\\three") == "one\ntwo\nthree"


def test_cleaning_removes_other_characters_and_transliterates_accents():
    assert V3.clean("Crème & 100%") == "Creme  100"
    assert V3.clean("don’t — “stop”…") == 'don\'t -- "stop"...'
    assert V3.clean("\ud800 half a pair") == " half a pair"


def test_without_the_transliterating_package_ascii_still_works(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "unidecode":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert V3.clean("plain\\text") == "plain\ntext"
    with pytest.raises(ValueError, match=r"hold 'ö'.*pip install -e .*\[lyrics\]"):
        V3.clean("schön")


@pytest.mark.parametrize("version", list(Version))
def test_tokens_are_decoded_to_the_same_text(version):
    alphabet = lyrics.ALPHABETS[version]
    tokens = alphabet.encode(alphabet.characters)
    assert tokens == list(range(1, alphabet.size))
    assert alphabet.decode([0, 0, *tokens]) == alphabet.characters


def test_a_character_outside_the_alphabet_is_named():
    with pytest.raises(ValueError, match="'#' is no character"):
        V3.encode("C#")


@pytest.mark.parametrize("text", ["Über die Brücke", "夜の\nハウス", "Добрый вечер, Москва"])
def test_the_unicode_alphabet_has_the_letters_of_its_corpus(text):
    alphabet = lyrics.find_alphabet("unicode", 0, lyrics.choose_characters([text, "\r\0"]))
    assert alphabet.clean(text) == text
    assert alphabet.decode(alphabet.encode(text)) == text
    assert alphabet.size == 1 + len(set(text))


def test_letters_outside_the_unicode_alphabet_become_the_nearest_or_are_removed():
    alphabet = lyrics.find_alphabet("unicode", 0, lyrics.choose_characters(["élan vital\n"]))
    assert alphabet.clean("ÉLAN e\u0301 ï 夜") == "élan é i "


def test_a_large_corpus_keeps_its_most_frequent_characters(monkeypatch):
    monkeypatch.setattr(lyrics, "MAX_CHARACTERS", 2)
    assert lyrics.choose_characters(["cabca", "a"]) == "ac"


def test_alphabets_are_found_by_name_and_those_of_released_models_by_size():
    assert lyrics.find_alphabet("", 80) == lyrics.find_alphabet("v2", 0) == V2
    assert lyrics.find_alphabet("", 79) == lyrics.find_alphabet("v3", 0) == V3
    with pytest.raises(ValueError, match=r"no lyric alphabet has 20 tokens; known: v2 \(80\)"):
        lyrics.find_alphabet("", 20)


def test_tokens_of_words_are_those_of_the_whole_text():
    text = "(Hey) 夜  & don’t\r\nstop"
    for alphabet in (V3, lyrics.find_alphabet("unicode", 0, "DHdehnopst \n夜")):
        tokens = alphabet.encode(alphabet.clean(text))
        ranges = alphabet.find_word_tokens(text)
        words = [alphabet.decode(tokens[letters.start : letters.stop]) for letters in ranges]
        assert words == [alphabet.clean(word) for word in text.split()]
    assert words == ["He", "夜", "", "dont", "stop"]


def test_a_reader_cuts_windows_as_the_data_set_of_openai():
    reader = lyrics.LyricsReader(V3, 10)
    tokens = reader.encode("x" * 40 + "ABCDEFGHIJ" + "y" * 50)
    assert V3.decode(reader.read_window(tokens, 1000, 400, 100)) == "ABCDEFGHIJ"
    assert reader.read_window(reader.encode(""), 1000, 400, 100).tolist() == [0] * 10


def test_a_short_text_is_at_the_end_of_the_window():
    indices = lyrics.window_indices(3, 6, **SONG, offset=0)
    np.testing.assert_array_equal(indices, [-1, -1, -1, 0, 1, 2])
    np.testing.assert_array_equal(lyrics.take_tokens([7, 8, 9], indices), [0, 0, 0, 7, 8, 9])
    assert lyrics.take_tokens([], lyrics.window_indices(0, 2, **SONG, offset=0)).tolist() == [0, 0]


def test_the_window_is_centered_on_the_middle_of_the_audio():
    # Samples 400 to 500 of 1000: character 45 of 100.
    np.testing.assert_array_equal(
        lyrics.window_indices(100, 10, **SONG, offset=400), np.arange(40, 50)
    )


@pytest.mark.parametrize("num_tokens", [10, 11])
def test_the_window_stays_inside_the_text(num_tokens):
    first = lyrics.window_indices(100, num_tokens, **SONG, offset=0)
    np.testing.assert_array_equal(first, np.arange(num_tokens))
    for offset in (950, 2000):  # past the end too: OpenAI's code stops there
        last = lyrics.window_indices(100, num_tokens, **SONG, offset=offset)
        np.testing.assert_array_equal(last, np.arange(100 - num_tokens, 100))


def test_single_and_double_precision_differ_by_one_character_at_most():
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(2000):
        count, total = int(rng.integers(600, 4000)), int(rng.integers(2**22, 2**24))
        place = {"total_samples": total, "offset": int(rng.integers(total)), "sample_length": 65536}
        double, single = (
            lyrics.window_indices(count, 512, **place, dtype=dtype)[0]
            for dtype in (np.float64, np.float32)
        )
        assert abs(int(double) - int(single)) <= 1
        moved += double != single
    assert moved < 20
