"""The values of a request as users write them."""

import pytest

from jukejax.sampling.request_values import (
    parse_integers,
    parse_numbers,
    parse_range,
    resolve_seconds,
)


def test_bars_of_four_beats_are_seconds_at_a_tempo():
    assert resolve_seconds(None, bars=32, bpm=124) == pytest.approx(32 * 4 * 60 / 124)
    assert resolve_seconds(8.5, None, None) == 8.5
    assert resolve_seconds(None, None, None) is None


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((None, 8, None), "--bars=8 needs --bpm"),
        ((12, 8, 124), "given twice"),
        ((None, 8, 0), "--bars=8 --bpm=0 must be positive"),
    ],
)
def test_contradicting_lengths_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        resolve_seconds(*lengths)


def test_texts_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="--top=a,1 is not a list of numbers"):
        parse_numbers("top", ["a", "1"])
    with pytest.raises(ValueError, match=r"--levels=1\.5 is not a list of whole numbers"):
        parse_integers("levels", ["1.5"])
    assert parse_range("8:12.5") == (8.0, 12.5)
    with pytest.raises(ValueError, match="--reroll=8-12 is not START:STOP"):
        parse_range("8-12")
