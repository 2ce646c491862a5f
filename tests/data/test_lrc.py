"""LRC files: lyrics with times."""

import pytest

from jukejax.data.lrc import TimedLyrics, format_lrc, has_line_times, parse_lrc


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
