"""Which differences of two sets are judged, and in which order they are listed."""

import numpy as np
import pytest

from jukejax.analysis import track_figures
from jukejax.evaluation import comparison
from jukejax.evaluation.metrics import METRICS
from jukejax.evaluation.rows import rank_differences

DRAWS = {"draws": 50, "seed": 0}


def make_tracks(count=12, seed=0, **means):
    """Draws figures of tracks from (mean, standard deviation) by name."""
    random = np.random.default_rng(seed)
    return [
        {name: float(random.normal(*mean)) for name, mean in means.items()} for _ in range(count)
    ]


def compare(inputs, references):
    rows = comparison.compare_tracks("sound and rhythm", inputs, references, **DRAWS)
    return {row.metric: row for row in rows}


def test_a_lost_beat_is_listed_before_larger_multiples_of_small_floors():
    reference = make_tracks(pulse=(0.6, 0.1), loudness_lufs=(-9, 0.1), true_peak_db=(-1, 0.1))
    other = make_tracks(seed=1, pulse=(0.0, 0.01), loudness_lufs=(-30, 0.1), true_peak_db=(-9, 0.1))
    rows = compare(other, reference)
    listed = rank_differences(rows.values())
    assert [row.metric for row in listed] == ["pulse", "loudness_lufs", "true_peak_db"]
    assert listed[0].floors < listed[1].floors


def test_a_floor_of_nearly_zero_does_not_lead():
    """A reference without DC has a floor of 1e-9: the resolution of the figure takes its place."""
    rows = compare(make_tracks(seed=1, dc=(2e-4, 1e-6)), make_tracks(dc=(0, 1e-8)))
    assert rows["dc"].floor == METRICS["dc"].resolution
    assert rank_differences(rows.values()) == []
    broken = compare(make_tracks(seed=1, dc=(0.05, 1e-6)), make_tracks(dc=(0, 0)))
    assert [row.metric for row in rank_differences(broken.values())] == ["dc"]


def test_a_difference_within_the_spread_of_tracks_is_not_listed():
    """The halves of 4000 tracks differ by 0.025 standard deviations, which nobody hears."""
    many = {"count": 4000, "loudness_lufs": (-12.0, 4.0)}
    rows = compare(make_tracks(seed=1, **many), make_tracks(**many | {"loudness_lufs": (-11, 4.0)}))
    assert rows["loudness_lufs"].floor == pytest.approx(0.2 * 4.0, rel=0.05)
    assert rank_differences(rows.values()) == []


def test_few_observations_are_not_judged_and_a_baseline_never():
    figures = {"jump_db_at": (5, 0.1), "jump_db_elsewhere": (5, 0.1)}
    reference = make_tracks(**figures | {"jump_db_at": (1, 0.1), "jump_db_elsewhere": (1, 0.1)})
    other = make_tracks(seed=1, **figures)
    for frames, joins, listed in (
        (12, 1, ["jump_db_at"]),
        (3446, 0, []),
        (3446, 10, ["jump_db_at"]),
    ):
        counts = {"num_joins": joins, "num_frames_elsewhere": frames}
        rows = compare([x | counts for x in other], [x | counts for x in reference])
        assert [row.metric for row in rank_differences(rows.values())] == listed
        assert rows["jump_db_elsewhere"].find_shortage() == (
            "144 of at least 500 frames" if frames == 12 else None
        )
    assert rows["jump_db_at"].describe_counts() == "120/120 joins, 12/12 tracks"
    few = compare(other, reference[:3])
    assert few["jump_db_at"].floors is None
    assert few["jump_db_at"].to_json()["too_few"] == "3 of at least 4 tracks of the reference"


@pytest.mark.parametrize(
    ("value", "listed"),
    [(0.0, ["pulse", "silent", "true_peak_db"]), (0.3, ["pulse", "dc", "loudness_lufs"])],
)
def test_silent_and_constant_tracks_are_judged_by_what_they_lack(value, listed):
    flat = track_figures.measure_track("flat", np.full((5 * 44_100, 2), value, np.float32))
    usual = {"pulse": (0.8, 0.05), "silent": (0, 0), "dc": (0, 0), "clipped": (0, 0)}
    reference = make_tracks(**usual, loudness_lufs=(-11, 1), true_peak_db=(-0.5, 0.2))
    ranked = rank_differences(compare([flat.figures], reference).values())
    assert [row.metric for row in ranked][:3] == listed
    assert flat.figures["tempo_bpm"] is None
    assert flat.figures["num_beats"] == 0


def test_every_share_and_percentage_says_of_what():
    for name, metric in METRICS.items():
        assert "share" not in metric.unit or "share of " in metric.unit, name
        assert "%" not in metric.unit or "% of " in metric.unit, name
        assert metric.resolution > 0, name
        assert bool(metric.over) == bool(metric.count) == bool(metric.least), name
