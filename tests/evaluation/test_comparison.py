"""Comparison of two sets: equal sets are near the floor, different sets far above it."""

import numpy as np
import pytest

from jukejax.analysis import codebook, mel
from jukejax.evaluation import comparison
from jukejax.evaluation import pictures as evaluation_pictures
from jukejax.evaluation import rows as evaluation_rows
from jukejax.evaluation.bootstrap import Interval

DRAWS = {"draws": 200, "seed": 0}


def tracks(mean, count=40, seed=0):
    random = np.random.default_rng(seed)
    return [{"tempo_bpm": x, "pulse": None} for x in random.normal(mean, 1.0, count)]


def test_a_difference_is_a_multiple_of_the_floor():
    (row,) = comparison.compare_tracks("music", tracks(120), tracks(126, seed=1), **DRAWS)
    assert row.metric == "tempo_bpm"  # nothing has a pulse, so there is no row of it
    assert row.input.mean == pytest.approx(120, abs=0.5)
    assert row.reference.low < row.reference.mean < row.reference.high
    # Halves of 20 normal figures differ by sqrt(2 / 20) * sqrt(2 / pi) = 0.25 on average.
    assert row.floor == pytest.approx(0.25, rel=0.3)
    assert row.floors == pytest.approx(6 / row.floor, rel=0.1)
    (same,) = comparison.compare_tracks("music", tracks(126, seed=2), tracks(126, seed=1), **DRAWS)
    assert same.floors < 3
    assert row.to_json()["times_floor"] == row.floors


def test_one_side_may_be_empty():
    (alone,) = comparison.compare_tracks("music", tracks(120), [], **DRAWS)
    assert (alone.reference, alone.floor, alone.floors) == (None, None, None)
    (other,) = comparison.compare_tracks("music", [], tracks(120), **DRAWS)
    assert other.input is None
    assert other.floor > 0


def test_pooled_figures_are_not_means_of_tracks():
    """Two tracks that use half of the codes each use all of them together."""
    lower, upper = np.array([5, 5, 0, 0]), np.array([0, 0, 5, 5])
    pooled = comparison.PooledFigures(lambda x: codebook.measure_usage(x).to_dict(), **DRAWS)
    rows = pooled.compare("codebook", [lower, upper], [lower])
    usage = next(row for row in rows if row.metric == "usage")
    assert usage.input.mean == 1.0
    assert (usage.input.low, usage.input.high) == (0.5, 1.0)  # the same track may be drawn twice
    assert usage.reference.mean == 0.5
    assert usage.floor is None  # one track has no halves


def test_distances_of_equal_sets_are_near_the_floor_and_of_others_far():
    random = np.random.default_rng(0)

    def songs(shift, count=16):
        return [random.normal(shift, 1, (6, 5)) for _ in range(count)]

    reference = songs(0.0)
    for name, row in zip(
        ("energy", "kernel"),
        comparison.compare_embeddings("d", songs(1.5), reference, seed=0),
        strict=True,
    ):
        assert row.metric == name
        assert row.input.mean > 5 * abs(row.floor)
    equal = comparison.compare_embeddings("d", songs(0.0), reference, seed=0)
    assert abs(equal[0].floors) < 2
    assert comparison.compare_embeddings("d", songs(0.0), reference[:3], seed=0) == []
    assert comparison.compare_embeddings("d", songs(0.0)[:1], reference, seed=0) == []


@pytest.mark.parametrize("pieces", [1, 3])
def test_pieces_that_are_all_alike_are_not_nearer_than_music(pieces):
    """Noise without beats has embeddings in one point, at the center of those of the reference.

    The Frechet distance of as many pieces, fewer than features, is 0.6 to 0.7 of its floor.
    """
    random = np.random.default_rng(0)

    def make_songs(count, spread):
        centers = random.normal(size=(count, 1, 512))
        return list(spread * (0.8 * centers + 0.6 * random.normal(size=(count, pieces, 512))))

    reference = make_songs(24, 1.0)
    energy, kernel = comparison.compare_embeddings("d", make_songs(12, 0.1), reference, seed=0)
    assert energy.floors > 20
    assert kernel.input.mean > 0
    same, _ = comparison.compare_embeddings("d", make_songs(12, 1.0), reference, seed=0)
    assert same.floors < 2


def test_the_table_names_parts_figures_and_units():
    rows = comparison.compare_tracks("music", tracks(120), tracks(126), **DRAWS)
    head, blank_part, line = evaluation_rows.format_table(rows)
    assert "reference" in head
    assert blank_part == "music"
    assert line.split()[:2] == ["tempo", "(BPM)"]
    assert line.rstrip().endswith("x  40/40 tracks")
    assert evaluation_rows.format_interval(Interval(1.25, 1.0, 1.5, 1), ".1f") == "1.2"


def test_pictures_of_two_sets_are_written_light_and_dark(tmp_path):
    random = np.random.default_rng(0)
    seconds = np.arange(0, 60, 2.0)
    interval = Interval(0.5, 0.4, 0.6, 3)
    evaluation_pictures.write_tempo_picture(
        [(seconds, 120 + seconds / 60)], tmp_path / "tempo.png", "t"
    )
    evaluation_pictures.write_spectrum_picture(
        [random.normal(-40, 3, (4, 96)), np.zeros((0,))],
        mel.band_centers(),
        tmp_path / "spectrum.png",
        "s",
    )
    evaluation_pictures.write_tracks_picture(
        [[0.4, 0.6], []], (interval, None), tmp_path / "tracks.png", "t", "BPM"
    )
    evaluation_pictures.write_similarity_picture(
        [{1: interval, 4: interval}, {}], tmp_path / "bars.png", "b"
    )
    for name in ("tempo", "spectrum", "tracks", "bars"):
        light, dark = (tmp_path / f"{name}{end}" for end in (".png", ".dark.png"))
        assert light.read_bytes()[:4] == dark.read_bytes()[:4] == b"\x89PNG"
        assert light.read_bytes() != dark.read_bytes()
    with pytest.raises(ValueError, match="no tempo to draw"):
        evaluation_pictures.write_tempo_picture([], tmp_path / "x.png", "t")
