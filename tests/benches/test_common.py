"""The command `bench`: its names and flags; rows, tables and times that all benches share."""

import numpy as np
import pytest

from jukejax.benches import common
from jukejax.runtime import memory
from tests.support.command import run, run_in_process


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "error: bench needs a name; there are attention, train, decode, vqvae, data"),
        (
            ("dta", "--json"),
            "error: no bench 'dta'; there are attention, train, decode, vqvae, data",
        ),
        (("data", "--jsn"), "error: Unknown command line flag 'jsn'"),
        (("data", "more"), "error: unexpected argument 'more'; flags are written --name=value"),
    ],
)
def test_unknown_words_are_refused_in_one_line(words, message):
    error = run_in_process("bench", *words, code=2).stderr
    assert error.startswith(message)
    assert len(error.splitlines()) == 1


def test_help_shows_the_benches_or_the_flags_of_one():
    assert "data        prepare, separate, encode" in run("bench", "--help").stdout
    shown = run_in_process("bench", "data", "--help").stdout
    assert "--excerpt" in shown
    assert "--[no]json" in shown
    assert "grain" not in shown


def test_a_table_has_a_heading_for_each_set_of_columns_and_blanks_for_null():
    rows = [
        common.make_row("x", "first", seconds=1.23456, config="tiny"),
        common.make_row("x", "second", seconds=20.0),
        common.make_row("x", "third", tokens=3),
    ]
    lines = [line.split() for line in common.format_table(iter(rows))]
    assert [line[0] for line in lines] == ["what", "first", "second", "what", "third"]
    assert lines[1] == ["first", "tiny", "1.235"]
    assert lines[2] == ["second", "20.0"]
    assert lines[3][-1] == "tokens"
    assert lines[4] == ["third", "3"]


def test_compile_time_is_the_extra_time_of_the_first_call(monkeypatch):
    seconds = iter([5.0, 2.0])
    monkeypatch.setattr(common, "time_call", lambda work: next(seconds))
    assert common.time_twice(lambda: None) == (2.0, 3.0)


def test_peak_memory_counts_arrays_that_were_freed():
    before = memory.process_peak_bytes()
    held = np.ones(before // 8 + 40_000_000)
    del held
    assert memory.process_peak_bytes() > before + 200e6
