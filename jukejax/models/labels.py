"""The labels of a prior: artist, genre, timing, tempo, key, position in bar and phrase, section.

Jukebox paper, section 4.2; from the tempo on they are ours. Letters: B batch, T seq_len, E emb_dim.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.data import grid, sections
from jukejax.data.labels import ARTIST, FIRST_GENRE, LENGTH, OFFSET, TOTAL
from jukejax.models.label_config import LabelConfig, list_label_names


def compute_timing_bins(
    config: LabelConfig, labels: jax.Array, seq_len: int
) -> dict[str, jax.Array]:
    """Computes the bins of the timing signals, int32.

    NOTE: OpenAI's code fails an assertion for values at the edges of the ranges; here values
    outside the ranges belong to the outermost bins.

    Returns:
      "total" [B, 1], "absolute" and "relative" [B, seq_len].
    """
    total, offset, length = (
        labels[:, i : i + 1].astype(jnp.float32) for i in (TOTAL, OFFSET, LENGTH)
    )
    fraction = jnp.arange(seq_len, dtype=jnp.float32)[None, :] / seq_len  # of the window
    shortest, longest = (
        seconds * config.sample_rate for seconds in (config.min_duration, config.max_duration)
    )
    end = offset + length
    # A window may extend past the end of a short track.
    relative_start, relative_end = offset / total, jnp.minimum(end / total, 1.0)
    relative = relative_start + (relative_end - relative_start) * fraction
    return {
        "total": _find_bins(config, total, shortest, longest),
        "absolute": _find_bins(config, offset + (end - offset) * fraction, 0.0, longest),
        "relative": _find_bins(config, relative, 0.0, 1.0),
    }


def _find_bins(config: LabelConfig, x: jax.Array, low: float, high: float) -> jax.Array:
    """Returns the bin of each value of x in [low, high], int32."""
    scaled = (x - low) / (high - low)
    index = jnp.floor(config.timing_bins * scaled).astype(jnp.int32)
    return jnp.clip(index, 0, config.timing_bins - 1)


def compute_grid_bins(config: LabelConfig, labels: jax.Array, seq_len: int) -> dict[str, jax.Array]:
    """Computes the rows of the tables of tempo, key, position, section and turn, int32.

    Row 0 is "unknown", except for turns. Positions are integers of 32 bits that wrap at the end of
    the cycle.

    Returns:
      "tempo" and "key" [B, 1], "bar", "phrase", "section" and "turn" [B, seq_len]; those that are
      conditions of the model.
    """
    tempo, key, start, step, code = (labels[:, i : i + 1] for i in config.grid_columns.values())
    bins = {}
    if config.tempo_bins:
        bpm = jnp.maximum(tempo, 1).astype(jnp.float32) / grid.TEMPO_UNITS
        octaves = math.log2(config.max_bpm / config.min_bpm)
        index = jnp.floor(jnp.log2(bpm / config.min_bpm) / octaves * config.tempo_bins)
        index = jnp.clip(index.astype(jnp.int32), 0, config.tempo_bins - 1)
        bins["tempo"] = jnp.where(tempo > 0, 1 + index, 0)
    if config.keys:
        bins["key"] = key
    steps = step.astype(jnp.uint32) * jnp.arange(seq_len, dtype=jnp.uint32)
    cycle = (start.astype(jnp.uint32) + steps) >> 8  # 24 bits: exact in float32
    bars = cycle.astype(jnp.float32) * (config.cycle_bars / 2.0**24)
    if config.bar_bins:
        index = jnp.floor(bars % 1.0 * config.bar_bins)
        bins["bar"] = jnp.where(step != 0, 1 + index.astype(jnp.int32), 0)
    if config.phrase_bars:
        bins["phrase"] = jnp.where(step != 0, 1 + jnp.floor(bars).astype(jnp.int32), 0)
    if config.num_sections:
        bins["section"] = _find_sections(config, labels, seq_len)
    if config.turns:
        bins["turn"] = (code + jnp.arange(seq_len, dtype=jnp.int32)) % config.turns
    return bins


def _find_sections(config: LabelConfig, labels: jax.Array, seq_len: int) -> jax.Array:
    """Returns the number of the section at each position, int32 [B, seq_len]."""
    columns = config.section_columns
    numbers = labels[:, columns]
    starts = labels[:, columns.start - 1 : columns.stop - 1 : 2]
    changes = jnp.diff(numbers, prepend=0)  # [B, num_sections]
    is_past = jnp.arange(seq_len)[None, :, None] >= starts[:, None, :]
    return (is_past * changes[:, None, :]).sum(axis=-1, dtype=jnp.int32)


def remove_labels(
    config: LabelConfig, labels: jax.Array, removed: dict[str, jax.Array]
) -> jax.Array:
    """Replaces labels by "unknown".

    Args:
      labels: int [B, label_width]; lengths, offsets and lyrics are kept.
      removed: bool [B] for some of `list_label_names`.
    """
    columns = config.grid_columns
    unknown = {
        "artist": [(ARTIST, 0)],
        "genre": [(FIRST_GENRE + i, -1 if i else 0) for i in range(config.max_genres)],
        "tempo": [(columns["tempo"], 0)],
        "key": [(columns["key"], 0)],
        "bar": [(columns["cycle"], 0), (columns["cycle_step"], 0)],
    }
    if config.num_sections:
        numbers = range(config.width)[config.section_columns]
        unknown["section"] = [(column, 0) for column in numbers]
    for name, rows in removed.items():
        for column, value in unknown[name]:
            labels = labels.at[:, column].set(jnp.where(rows, value, labels[:, column]))
    return labels


def drop_labels(config: LabelConfig, labels: jax.Array, key: jax.Array) -> jax.Array:
    """Removes labels at random, for classifier-free guidance (Ho and Salimans, 2022).

    Args:
      labels: int [B, label_width].
    """
    names, batch = list_label_names(config), len(labels)
    key_all, key_each = jax.random.split(key)
    drops_all = jax.random.bernoulli(key_all, config.dropout_all, (batch,))
    drops = jax.random.bernoulli(key_each, config.dropout, (len(names), batch))
    return remove_labels(
        config, labels, {name: drops_all | drops[i] for i, name in enumerate(names)}
    )


class LabelConditioner(nn.Module):
    """Maps label vectors int [B, width] to the start slot and the embeddings of all positions.

    [B, E], and [B, T or 1, E] or None: the sum of timing (if `timing`), tempo, key, position in the
    bar and phrase, section, turn, and (if `style_everywhere`) the start slot.
    """

    config: LabelConfig
    features: int
    seq_len: int
    timing: bool
    init_scale: float = 1.0

    @nn.compact
    def __call__(self, labels: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        config = self.config
        if labels.shape[-1] != config.width:
            raise ValueError(
                f"label vectors have {labels.shape[-1]} entries, expected {config.width} "
                f"(labels.max_genres is {config.max_genres})"
            )

        genres = labels[:, config.genres]
        is_genre = (genres >= 0)[..., None]  # -1 pads the bag of genres
        genre_table = self._table("genre", config.num_genres)
        bag = jnp.where(is_genre, genre_table[jnp.maximum(genres, 0)], 0.0)
        start = bag.sum(axis=1) + self._table("artist", config.num_artists)[labels[:, ARTIST]]
        positions = [start[:, None]] if config.style_everywhere else []
        if self.timing:
            bins = compute_timing_bins(config, labels, self.seq_len)
            positions += [self._table(name, config.timing_bins)[i] for name, i in bins.items()]
        if config.has_grid:
            rows = {
                "tempo": 1 + config.tempo_bins,
                "key": 1 + config.keys,
                "bar": 1 + config.bar_bins,
                "phrase": 1 + config.phrase_bars,
                "section": len(sections.NAMES),
                "turn": config.turns,
            }
            bins = compute_grid_bins(config, labels, self.seq_len)
            positions += [self._table(name, rows[name])[i] for name, i in bins.items()]
        return start, sum(positions[1:], positions[0]) if positions else None

    def _table(self, name: str, rows: int) -> jax.Array:
        init = nn.initializers.normal(0.01 * self.init_scale)
        init = nn.with_logical_partitioning(init, ("vocab", "embed"))
        return self.param(name, init, (rows, self.features))
