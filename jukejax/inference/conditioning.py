"""Conditions of a window: labels, lyrics and the codes of the level above, as arrays.

Dimensions: B items or rows of a batch, T seq_len, t codes of a track.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common.types import Tree
from jukejax.data import lyrics as lyrics_data
from jukejax.data.grid import Grid
from jukejax.data.labels import make_label_vector
from jukejax.models import decoding
from jukejax.models.autoregressive import Conditions
from jukejax.models.prior import Prior
from jukejax.models.prior_config import PriorConfig


class Labels(NamedTuple):
    """Labels of one item.

    Attributes:
      artist, genres: ids from the model's vocabulary.
      total_samples: length of the piece that contains the item.
      offset: samples of the piece before the item.
      lyrics: tokens of the whole piece, for models with lyrics.
      grid: tempo, downbeat, key and sections, from the start of the item; for models with musical
        labels.
    """

    artist: int
    genres: tuple[int, ...]
    total_samples: int
    offset: int = 0
    lyrics: tuple[int, ...] = ()
    grid: Grid = Grid()


class TrackCodes(NamedTuple):
    """The codes of one track at a prior's level, with their conditions.

    Attributes:
      codes: int32 [t], the whole track.
      upper_codes: int32 [t // ratio] of the level above, or with a reference
        [t // ratio, 1 + ratio] (`data.references`), for upsamplers.
      labels: of the track, for labeled models.
    """

    codes: np.ndarray
    upper_codes: np.ndarray | None = None
    labels: Labels | None = None


class PriorInputs(NamedTuple):
    """The inputs of a prior for a batch of windows.

    Attributes:
      codes: int32 [B, T].
      upper_codes: int32 [B, *upper.find_shape], for upsamplers.
      labels: int32 [B, label_width], for labeled models.
    """

    codes: jax.Array
    upper_codes: jax.Array | None = None
    labels: jax.Array | None = None


class PriorWeights(NamedTuple):
    """Parameters of a prior, laid out for decoding."""

    conditioners: Tree
    decode: decoding.DecodeWeights


def prepare_weights(
    config: PriorConfig,
    params: Tree,
    dtype: jnp.dtype,
    weights: str = "float",
    *,
    is_partitioned: bool = False,
) -> PriorWeights:
    """Casts the parameters of a prior and separates its layers.

    Args:
      weights, is_partitioned: as in `decoding.prepare_decode_weights`.
    """
    conditioners = {name: tree for name, tree in params.items() if name != "autoregressive"}
    decode = decoding.prepare_decode_weights(
        config.autoregressive,
        params["autoregressive"],
        dtype,
        weights,
        is_partitioned=is_partitioned,
    )
    return PriorWeights(jax.device_put(conditioners), decode)


def compute_conditions(
    config: PriorConfig,
    weights: PriorWeights,
    upper_codes: jax.Array | None,
    labels: jax.Array | None,
) -> Conditions:
    """Computes the conditions of windows, in the dtype of the decoder's weights."""
    dtype = weights.decode.dtype
    params = {"params": weights.conditioners}
    model: Any = Prior(config, dtype)
    return model.apply(params, upper_codes, labels, method=Prior.compute_conditions)


def fit_length(codes: np.ndarray, length: int) -> np.ndarray:
    """Truncates or zero-pads codes [B, t, ...] to [B, length, ...]."""
    codes = codes[:, :length]
    rest = ((0, 0),) * (codes.ndim - 2)
    return np.pad(codes, ((0, 0), (0, length - codes.shape[1]), *rest))


def stack_rows(rows: Sequence[np.ndarray], length: int) -> jax.Array:
    """Stacks the codes [t, ...] of each row, truncated or zero-padded, to [B, length, ...]."""
    fitted = np.concatenate([fit_length(row[None], length) for row in rows])
    return jax.device_put(fitted.astype(np.int32))  # which compiles nothing, unlike `jnp.asarray`


def find_lyric_window(config: PriorConfig, labels: Labels, start: int) -> np.ndarray:
    """Returns the indices of the lyric tokens of the window at code `start`, int32 [N].

    They are -1 for padding.
    """
    return lyrics_data.window_indices(
        len(labels.lyrics),
        config.num_lyrics,
        total_samples=labels.total_samples,
        offset=labels.offset + start * config.hop_length,
        sample_length=config.sample_length,
        dtype=np.float32,  # as in OpenAI's sampling
    )


def make_window_labels(config: PriorConfig, labels: Sequence[Labels], start: int) -> np.ndarray:
    """Returns each item's label vector for the window at code `start`, int32 [B, label_width]."""
    assert config.labels is not None
    rows = []
    for item in labels:
        row = make_label_vector(
            item.total_samples,
            item.offset + start * config.hop_length,
            config.sample_length,
            item.artist,
            item.genres,
            config.labels.max_genres,
        )
        tokens = lyrics_data.take_tokens(item.lyrics, find_lyric_window(config, item, start))
        entries: tuple[int, ...] = ()
        if config.labels.has_grid:
            first, rate = start * config.hop_length, config.labels.sample_rate
            sizes = config.labels.cycle_bars, config.labels.num_sections
            entries = item.grid.make_entries(first, config.hop_length, rate, *sizes)
        rows.append(np.concatenate([row, entries, tokens]).astype(np.int32))
    return np.stack(rows)


def cut_windows(config: PriorConfig, track: TrackCodes, starts: Sequence[int]) -> PriorInputs:
    """Cuts the windows of a track that start at `starts`; they are padded with zeros at its end."""
    upper_codes = labels = None
    if config.upper is not None:
        assert track.upper_codes is not None
        ratio = config.upper.ratio
        above = [track.upper_codes[start // ratio :] for start in starts]
        upper_codes = stack_rows(above, config.seq_len // ratio)
    if config.labels is not None:
        assert track.labels is not None
        vectors = [make_window_labels(config, [track.labels], start) for start in starts]
        labels = jnp.asarray(np.concatenate(vectors), jnp.int32)
    codes = stack_rows([track.codes[start:] for start in starts], config.seq_len)
    return PriorInputs(codes, upper_codes, labels)
