"""Tempo, key and position in the bar as conditions of a prior, and the removal of labels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.data.grid import Grid
from jukejax.data.labels import make_label_vector
from jukejax.data.sections import NAMES
from jukejax.models.label_config import LabelConfig, list_label_names
from jukejax.models.labels import LabelConditioner, compute_grid_bins, drop_labels, remove_labels

RATE, HOP, SEQ_LEN = 44100, 128, 64
CONFIG = LabelConfig(
    num_artists=3, num_genres=3, max_genres=2, tempo_bins=20, keys=24, bar_bins=96, timing_bins=8
)


def vectors(*grids, start=0):
    """Label vectors of windows at sample `start`."""
    base = make_label_vector(10**9, start, SEQ_LEN * HOP, 1, (2,), CONFIG.max_genres)
    rows = [np.concatenate([base, grid.make_entries(start, HOP, RATE)]) for grid in grids]
    return jnp.asarray(np.stack(rows), jnp.int32)


@pytest.mark.parametrize("hours", [0, 3])
def test_every_position_is_in_its_part_of_the_bar(hours):
    start, grid = hours * 3600 * RATE + 77, Grid(124.0, 5000.0)
    bar = 240 * RATE / 124.0
    expected = ((start + HOP * np.arange(SEQ_LEN) - 5000.0) / bar % 1 * CONFIG.bar_bins).astype(int)
    bins = compute_grid_bins(CONFIG, vectors(grid, start=start), SEQ_LEN)["bar"]
    np.testing.assert_array_equal(bins[0], 1 + expected)


def test_the_first_sample_of_a_bar_is_in_the_first_bin():
    bar = 240 * RATE // 120
    for start in (0, bar, 5 * bar):
        bins = compute_grid_bins(CONFIG, vectors(Grid(120.0, 0.0), start=start), SEQ_LEN)
        assert bins["bar"][0, 0] == 1


@pytest.mark.parametrize("hours", [0, 3])
def test_bars_of_a_phrase_are_counted_from_the_first_downbeat(hours):
    config, window = dataclasses.replace(CONFIG, phrase_bars=8), 4096
    start, grid = hours * 3600 * RATE + 77, Grid(124.0, 5000.0)
    bars = (start + HOP * np.arange(window) - 5000.0) / (240 * RATE / 124.0)
    base = make_label_vector(10**9, start, window * HOP, 1, (2,), CONFIG.max_genres)
    entries = grid.make_entries(start, HOP, RATE, config.cycle_bars)
    labels = jnp.asarray(np.concatenate([base, entries])[None], jnp.int32)
    bins = compute_grid_bins(config, labels, window)
    scaled = bars * CONFIG.bar_bins
    inside = np.abs(scaled - np.round(scaled)) > 1e-3  # positions at the edge of a bin may round
    np.testing.assert_array_equal(bins["phrase"][0][inside], 1 + np.floor(bars[inside]) % 8)
    expected = 1 + np.floor(scaled[inside]) % CONFIG.bar_bins
    np.testing.assert_array_equal(bins["bar"][0][inside], expected)
    assert inside.mean() > 0.99


def test_artist_and_genre_are_added_at_every_position():
    labels = vectors(Grid(124.0, 0.0))
    model = LabelConditioner(CONFIG, 4, SEQ_LEN, timing=True)
    everywhere = dataclasses.replace(CONFIG, style_everywhere=True)
    (start, positions), variables = model.init_with_output(jax.random.key(0), labels)
    model = LabelConditioner(everywhere, 4, SEQ_LEN, timing=True)
    same_start, more = model.apply(variables, labels)
    np.testing.assert_array_equal(start, same_start)
    np.testing.assert_allclose(more, positions + start[:, None], rtol=1e-5, atol=1e-7)


def test_tempi_are_in_bins_of_equal_ratios():
    tempi = [1.0, 60.0, 60.0 * (200 / 60) ** 0.501, 199.9, 400.0]
    bins = compute_grid_bins(CONFIG, vectors(*(Grid(bpm) for bpm in tempi)), SEQ_LEN)["tempo"]
    assert bins[:, 0].tolist() == [1, 1, 11, 20, 20]


def test_unknown_values_take_row_0():
    bins = compute_grid_bins(CONFIG, vectors(Grid()), SEQ_LEN)
    assert all(int(rows.max()) == 0 for rows in bins.values())


def test_turns_are_counted_from_the_start_of_the_track():
    config = dataclasses.replace(CONFIG, turns=8)
    for first in (0, 5, 3 * 3600 * RATE // HOP):
        labels = vectors(Grid(), start=first * HOP)
        turns = compute_grid_bins(config, labels, SEQ_LEN)["turn"]
        np.testing.assert_array_equal(turns[0], (first + np.arange(SEQ_LEN)) % 8)


def test_every_position_has_its_section_until_the_label_is_removed():
    config = dataclasses.replace(CONFIG, num_sections=3)
    grid = Grid(sections=(("intro", 0.0), ("drop", 30.0 * HOP), ("outro", 70.0 * HOP)))
    base = make_label_vector(10**9, 0, SEQ_LEN * HOP, 1, (2,), CONFIG.max_genres)
    windows = [
        np.concatenate([base, each.make_entries(start * HOP, HOP, RATE, num_sections=3)])
        for each, start in ((grid, 0), (grid, 20), (Grid(), 0))
    ]
    labels = jnp.asarray(np.stack(windows), jnp.int32)
    assert labels.shape[1] == config.width
    rows = np.asarray(compute_grid_bins(config, labels, SEQ_LEN)["section"])
    intro, drop, outro = (NAMES.index(name) for name in ("intro", "drop", "outro"))
    assert rows[0].tolist() == [intro] * 30 + [drop] * 34
    assert rows[1].tolist() == [intro] * 10 + [drop] * 40 + [outro] * 14
    assert not rows[2].any()
    removed = remove_labels(config, labels, {"section": jnp.array([True, False, True])})
    rows = np.asarray(compute_grid_bins(config, removed, SEQ_LEN)["section"])
    assert not rows[0].any()
    assert rows[1, 0] == intro
    model = LabelConditioner(config, 4, SEQ_LEN, timing=True)
    (_, positions), variables = model.init_with_output(jax.random.key(0), labels)
    table = variables["params"]["section"].unbox()
    difference = positions[0, 31] - model.apply(variables, removed)[1][0, 31]
    np.testing.assert_allclose(difference, table[drop] - table[0], rtol=1e-4, atol=1e-7)


def test_label_names_are_those_that_a_model_has_a_condition_for():
    assert list_label_names(CONFIG) == ("artist", "genre", "tempo", "key", "bar")
    upsampler = LabelConfig(num_artists=3, num_genres=3, turns=4)
    assert upsampler.has_grid
    assert list_label_names(upsampler) == ("artist", "genre")
    phrases = dataclasses.replace(CONFIG, keys=0, bar_bins=0, phrase_bars=8, num_sections=8)
    assert list_label_names(phrases) == ("artist", "genre", "tempo", "bar", "section")


def test_removed_labels_are_those_of_an_unknown_track():
    removed = {name: jnp.ones(1, bool) for name in list_label_names(CONFIG)}
    labels = remove_labels(CONFIG, vectors(Grid(124.0, 0.0, "A minor")), removed)
    base = make_label_vector(10**9, 0, SEQ_LEN * HOP, 0, (0,), CONFIG.max_genres)
    np.testing.assert_array_equal(labels[0], np.concatenate([base, [0, 0, 0, 0, 0]]))


def test_labels_are_dropped_at_the_configured_rates():
    labels = jnp.tile(vectors(Grid(124.0, 0.0, "A minor")), (4000, 1))
    config = dataclasses.replace(CONFIG, dropout=0.2, dropout_all=0.1)
    dropped = drop_labels(config, labels, jax.random.key(0))
    columns = {"artist": 3, "genre": 4, "tempo": 6}
    unknown = np.stack([np.asarray(dropped[:, column] == 0) for column in columns.values()])
    np.testing.assert_allclose(unknown.mean(axis=1), 0.1 + 0.9 * 0.2, atol=0.02)
    assert unknown.all(axis=0).mean() == pytest.approx(0.1 + 0.9 * 0.2**3, abs=0.02)
    np.testing.assert_array_equal(dropped[:, :3], labels[:, :3])  # timing is kept


@pytest.mark.parametrize("timing", [True, False])
def test_a_model_without_grid_labels_has_the_tables_of_before(timing):
    config = dataclasses.replace(CONFIG, tempo_bins=0, keys=0, bar_bins=0)
    model = LabelConditioner(config, 4, SEQ_LEN, timing)
    params = model.init(jax.random.key(0), vectors(Grid())[:, :6])["params"]
    tables = {"artist", "genre"} | ({"total", "absolute", "relative"} if timing else set())
    assert params.keys() == tables


def test_upsamplers_have_position_embeddings_only_of_grid_labels():
    labels = vectors(Grid(124.0, 0.0))
    model = LabelConditioner(CONFIG, 4, SEQ_LEN, timing=False)
    (_, positions), variables = model.init_with_output(jax.random.key(0), labels)
    bins = compute_grid_bins(CONFIG, labels, SEQ_LEN)
    tables = {name: variables["params"][name].value for name in bins}
    expected = sum(tables[name][rows] for name, rows in bins.items())
    np.testing.assert_allclose(positions, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "values",
    [{"keys": 12}, {"tempo_bins": -1}, {"phrase_bars": -1}, {"min_bpm": 200.0}, {"dropout": 1.0}],
)
def test_impossible_configs_are_refused(values):
    with pytest.raises(ValueError, match=f"labels.{next(iter(values))}"):
        LabelConfig(num_artists=1, num_genres=1, **values)
