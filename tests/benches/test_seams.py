"""The seams of a small bundle of random weights, in both schedules."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest

from jukejax.benches import seams
from jukejax.inference.loaded_model import Model
from tests.support import small_bundle


@pytest.fixture(autouse=True, scope="module")
def single_layers():
    """Gives the priors one dense layer."""
    stack = functools.partial(small_bundle.stack, num_layers=1, attn_order=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_bundle, "stack", stack)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, single_layers):
    """A bundle of the two upper levels."""
    folder = tmp_path_factory.mktemp("bundle")
    return str(small_bundle.write(folder, lyrics="none", levels=(1, 2)))


def make_values(folder, **changed):
    defaults = {"schedule": "both", "seconds": 0.2, "batch": 2, "dtype": "", "weights": "float"}
    return SimpleNamespace(model=folder, **defaults | changed)


@pytest.mark.parametrize("levels", [(1, 2), pytest.param((0, 1, 2), marks=pytest.mark.slow)])
def test_every_level_and_schedule_has_a_row(folder, tmp_path, levels):
    if 0 in levels:
        folder = str(small_bundle.write(tmp_path, lyrics="none"))
    rows = list(seams.measure_rows(make_values(folder)))
    expected_levels = [("2", "sequential")]
    for level in range(1, levels[0] - 1, -1):
        expected_levels += [(str(level), "sequential"), (str(level), "parallel")]
    assert [row["what"] for row in rows] == [
        *(f"level {level} {schedule}" for level, schedule in expected_levels),
        "all levels sequential",
        "all levels parallel",
    ]
    top = 69  # codes of 0.2 s, in windows of 64 that begin every 32
    for row, (level, _) in zip(rows, expected_levels, strict=False):
        total = top * 4 ** (2 - int(level))
        assert row["tokens"] == 2 * total
        assert row["joins"] == 2 * -(-(total - 64) // 32)
        assert row["tokens_per_s"] > 0
        assert 0 < row["agreement"] <= 1
        assert (row["dtype"], row["batch"], row["config"]) == ("float32", 2, folder)
        for name in ("flux_at", "flux_between", "jump_db_at", "jump_db_between"):
            assert row[name] > 0
    assert len({tuple(row) for row in rows[:-2]}) == 1  # one table
    for last, schedule in zip(rows[-2:], ("sequential", "parallel"), strict=True):
        total_seconds = sum(
            row["seconds"]
            for row, (level, name) in zip(rows, expected_levels, strict=False)
            if level == "2" or name == schedule
        )
        assert last["seconds"] == pytest.approx(total_seconds, rel=0.01)
        assert last["seconds_per_second_of_audio"] == pytest.approx(total_seconds / 0.4, rel=0.01)


def test_joins_are_at_the_windows_of_each_schedule(folder):
    model = Model(folder)
    totals = model.totals(69)
    upper = np.random.default_rng(0).integers(16, size=(2, 69)).astype(np.int32)
    sampled = {
        name: seams.time_level(model, 1, name, totals, upper, 2)
        for name in ("sequential", "parallel")
    }
    assert sampled["sequential"].joins == [[64, 96, 128, 160, 192, 224, 256]] * 2
    for joins in sampled["parallel"].joins:
        for join, start in zip(joins, (32, 64, 96, 128, 160, 192, 212), strict=True):
            assert start + 16 <= join <= start + 44


def test_figures_at_joins_are_higher_than_between_them_where_the_level_steps():
    """The codes are levels in dB of a noise that changes at the joins only."""
    hop, rate, size = 32, 44100, 800
    noise = np.random.default_rng(0).normal(0, 0.01, 4 * size * hop)

    def decode(codes, level):
        return (noise * 10 ** (np.repeat(codes, hop) / 20)).astype(np.float32)[:, None]

    model = SimpleNamespace(hops=(8, hop), sample_rate=rate, codec=SimpleNamespace(decode=decode))
    codes, joins = np.repeat([0, 6, 0, 6], size), [size, 2 * size, 3 * size]
    sampled = seams.SampledLevel(np.stack([codes, codes]), [joins, joins], 0.5, 1.0, 0.0)
    figures = seams.measure_joins(model, 1, sampled)
    assert figures["jump_db_at"] == pytest.approx(6, abs=0.3)
    assert figures["jump_db_between"] < 0.3
    assert figures["flux_at"] > 1.2 * figures["flux_between"]


def test_schedule_flag_selects_one_schedule(folder):
    rows = list(seams.measure_rows(make_values(folder, schedule="parallel")))
    assert [row["what"] for row in rows] == [
        "level 2 sequential",
        "level 1 parallel",
        "all levels parallel",
    ]


def test_a_track_of_one_window_has_no_seams(folder):
    model = Model(folder)
    sampled = seams.SampledLevel(np.zeros((2, 40), np.int32), [[], []], None, 1.0, 0.0)
    figures = seams.measure_joins(model, 2, sampled)
    assert figures["flux_ratio"] is figures["flux_at"] is figures["jump_db_between"] is None
