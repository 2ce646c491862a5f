"""Sizes, times and counts as people read them."""

import pytest

from jukejax.common.formatting import format_bytes, format_count, format_duration


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 B"), (999, "999 B"), (12_000, "12 kB"), (385e6, "385 MB"), (1.264e9, "1.26 GB")],
)
def test_sizes(amount, text):
    assert format_bytes(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0032, "3.2 ms"),
        (0.42, "0.4 s"),
        (38.4, "38 s"),
        (59.7, "1 min 00 s"),
        (245, "4 min 05 s"),
        (7800, "2 h 10 min"),
        (4 * 86_400, "4.0 days"),
        (4_000_000, "46 days"),
        (3.2e8, "10 years"),
        (3.8e9, "more than 100 years"),
    ],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


def test_nouns_follow_their_number():
    assert format_count(1, "track") == "1 track"
    assert format_count(1200, "track") == "1,200 tracks"
