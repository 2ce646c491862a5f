"""Characters of lyrics, and those that condition a window of audio."""

import builtins

import numpy as np
import pytest

from jukejax.data import lyrics
from jukejax.data.openai_labels import Version

SONG = {"total_samples": 1000, "sample_length": 100}


def test_vocabularies_have_the_sizes_of_the_released_models():
    assert lyrics.vocab_size("v2") == 80
    assert lyrics.vocab_size("v3") == 79


def test_only_version_2_has_the_plus():
    assert lyrics.clean_text("a + b", "v2") == "a + b"
    assert lyrics.clean_text("a + b", "v3") == "a  b"
    assert "+" in lyrics.character_ids("v2")
    assert "+" not in lyrics.character_ids("v3")


def test_cleaning_keeps_line_ends_and_turns_backslashes_into_them():
    assert lyrics.clean_text("one\ntwo\\three", "v3") == "one\ntwo\nthree"


def test_cleaning_removes_other_characters_and_transliterates_accents():
    assert lyrics.clean_text("Crème & 100%", "v3") == "Creme  100"
    assert lyrics.clean_text("don’t — “stop”…", "v3") == 'don\'t -- "stop"...'
    assert lyrics.clean_text("\ud800 half a pair", "v3") == " half a pair"


def test_without_the_transliterating_package_ascii_still_works(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "unidecode":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert lyrics.clean_text("plain\\text", "v3") == "plain\ntext"
    with pytest.raises(ValueError, match=r"hold 'ö'.*pip install -e .*\[lyrics\]"):
        lyrics.clean_text("schön", "v3")


@pytest.mark.parametrize("version", list(Version))
def test_tokens_are_decoded_to_the_same_text(version):
    text = lyrics.ALPHABETS[version]
    tokens = lyrics.encode_text(text, version)
    assert tokens == list(range(1, len(text) + 1))
    assert lyrics.decode_tokens([0, 0, *tokens], version) == text


def test_a_character_outside_the_alphabet_is_named():
    with pytest.raises(ValueError, match="'#' is no character"):
        lyrics.encode_text("C#", "v3")


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
