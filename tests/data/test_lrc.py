"""LRC files: lyrics with times."""

import pytest

from jukejax.data.lrc import (
    TimedLyrics,
    format_lrc,
    format_synchronised_text,
    has_line_times,
    parse_lrc,
)


def test_lines_are_sorted_by_time_and_tags_are_removed():
    text = "[ar:Nobody]\n[00:12.50]second  line\n[00:01.00]first\n[00:20.00]\nno time\n"
    assert has_line_times(text)
    assert not has_line_times("[Chorus]\nla la")
    assert parse_lrc(text) == TimedLyrics("first\nsecond line", ((0, 1.0), (6, 12.5)))


def test_a_line_of_several_times_is_repeated():
    assert parse_lrc("[00:01.00][01:00.00]hook\n[00:30.00]verse") == TimedLyrics(
        "hook\nverse\nhook", ((0, 1.0), (5, 30.0), (11, 60.0))
    )


def test_the_offset_moves_all_lines_to_earlier_times():
    assert parse_lrc("[offset:+500]\n[00:02.00]a\n[00:00.10]b").times == ((0, 0.0), (2, 1.5))


def test_times_of_words_are_read():
    timed = parse_lrc("[00:01.00]<00:01.00> one <00:01.50> two words <00:02.25>three")
    assert timed == TimedLyrics("one two words three", ((0, 1.0), (4, 1.5), (14, 2.25)))


def test_what_is_written_is_read_back():
    lines = [[("one", 1.0), ("two", 1.5)], [], [("three", 61.25)]]
    text = format_lrc(lines)
    assert text == "[00:01.00]<00:01.00> one <00:01.50> two\n[01:01.25]<01:01.25> three\n"
    assert parse_lrc(text) == TimedLyrics("one two\nthree", ((0, 1.0), (4, 1.5), (8, 61.25)))


@pytest.mark.parametrize("text", ["", "[ti:x]", "[00:01.00]"])
def test_files_without_lines_have_no_lyrics(text):
    assert parse_lrc(text) == TimedLyrics()


@pytest.mark.parametrize(
    "pieces",
    [
        [("Ju", 500), ("ke ", 700), ("box", 1000), ("\nplays", 2000), (" on", 2500)],
        [("Ju", 500), ("ke", 700), (" box\r\n", 1000), ("plays ", 2000), ("on", 2500)],
    ],
)
def test_syllables_of_a_frame_become_words_with_the_time_of_their_first(pieces):
    lyrics = parse_lrc(format_synchronised_text(pieces))
    assert lyrics.text == "Juke box\nplays on"
    assert lyrics.times == ((0, 0.5), (5, 1.0), (9, 2.0), (15, 2.5))


def test_pieces_of_a_frame_without_spaces_around_them_are_lines():
    lyrics = parse_lrc(format_synchronised_text([("juke box", 500), ("plays on", 61_230)]))
    assert lyrics.text == "juke box\nplays on"
    assert lyrics.times == ((0, 0.5), (9, 61.23))
