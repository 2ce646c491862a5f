"""From priors to codes: one compiled program fills a window; windows follow a plan.

Dimensions: B items in a batch, T seq_len, V codebook_size.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jukejax import sampling
from jukejax.data import lyrics as lyrics_data
from jukejax.data.labels import label_vector
from jukejax.models import autoregressive
from jukejax.models.autoregressive import Conditions
from jukejax.models.prior import Prior, PriorConfig, music, sequence
from jukejax.sampling import Method
from jukejax.windows import Window, plan_windows

Tree = Any


class Labels(NamedTuple):
    """What one item is labelled with.

    Attributes:
      artist, genres: ids from the model's vocabulary.
      total_samples: length of the whole piece, of which the item may be a part.
      offset: samples of the piece before the item.
      lyrics: tokens of the whole piece, for models with lyrics.
    """

    artist: int
    genres: tuple[int, ...]
    total_samples: int
    offset: int = 0
    lyrics: tuple[int, ...] = ()


class WindowInputs(NamedTuple):
    """Arguments of one window; all arrays, so that every window runs the same program.

    Attributes:
      codes: int32 [B, T], slots before `start` are kept.
      upper_codes: int32 [B, T // ratio] or None.
      labels: int32 [B, label_width] or None.
      start, stop: int32 scalars, the slots to fill.
      offset: int32 scalar, codes before the window in the track.
      keys: [B] PRNG keys.
      temperature: float32 scalar.
    """

    codes: jax.Array
    upper_codes: jax.Array | None
    labels: jax.Array | None
    start: jax.Array
    stop: jax.Array
    offset: jax.Array
    keys: jax.Array
    temperature: jax.Array


class PriorWeights(NamedTuple):
    """A prior's parameters, ready to decode with."""

    conditioners: Tree
    decode: autoregressive.DecodeWeights


def prior_weights(
    config: PriorConfig, params: Tree, dtype: jnp.dtype, weights: str = "float"
) -> PriorWeights:
    """Casts once and takes the layers apart; `weights` as in `autoregressive.decode_weights`."""
    others = {name: part for name, part in params.items() if name != "autoregressive"}
    decode = autoregressive.decode_weights(
        config.autoregressive, params["autoregressive"], dtype, weights
    )
    return PriorWeights(jax.tree.map(jnp.asarray, others), decode)


def condition(
    config: PriorConfig,
    weights: PriorWeights,
    upper_codes: jax.Array | None,
    labels: jax.Array | None,
) -> Conditions:
    """What a window is told, in the dtype that it is decoded in."""
    dtype = weights.decode.dtype
    params = {"params": weights.conditioners}
    return Prior(config, dtype).apply(params, upper_codes, labels, method=Prior.conditions)


@functools.partial(jax.jit, static_argnums=(0, 1))
def fill_window(
    config: PriorConfig, method: Method, weights: PriorWeights, inputs: WindowInputs
) -> jax.Array:
    """Conditions, prefill and token loop of one window: int32 [B, T], filled up to `stop`."""
    conditions = condition(config, weights, inputs.upper_codes, inputs.labels)
    tokens, before = sequence(config, inputs.codes, inputs.labels), config.lyric_prefix
    model, start = config.autoregressive, before + inputs.start
    caches = autoregressive.prefill(model, weights.decode, tokens, conditions, start)

    def step(caches, previous, position):
        return autoregressive.step(model, weights.decode, caches, previous, conditions, position)

    state = sampling.fill_window(
        step,
        caches,
        tokens,
        start=start,
        stop=before + inputs.stop,
        keys=inputs.keys,
        offset=inputs.offset - before,
        temperature=inputs.temperature,
        method=method,
    )
    return music(config, state.codes)


def item_keys(seed: int, items: range, level: int) -> jax.Array:
    """[B] keys: an item's noise depends on the seed, its number and the level only."""
    root = jax.random.fold_in(jax.random.key(seed), level)
    return jnp.stack([jax.random.fold_in(root, item) for item in items])


def fit(codes: np.ndarray, length: int) -> np.ndarray:
    """Codes [B, t] cut or padded with zeros to [B, length]."""
    codes = codes[:, :length]
    return np.pad(codes, ((0, 0), (0, length - codes.shape[1])))


def lyric_window(config: PriorConfig, item: Labels, start: int) -> np.ndarray:
    """Which of an item's lyrics the window at code `start` is told; -1 for padding, int32 [N]."""
    return lyrics_data.window(
        len(item.lyrics),
        config.num_lyrics,
        total_samples=item.total_samples,
        offset=item.offset + start * config.hop_length,
        sample_length=config.sample_length,
        dtype=np.float32,  # as OpenAI's sampling
    )


def window_labels(config: PriorConfig, labels: Sequence[Labels], start: int) -> np.ndarray:
    """The label vectors of the window at code `start`, int32 [B, label_width]."""
    rows = []
    for item in labels:
        row = label_vector(
            item.total_samples,
            item.offset + start * config.hop_length,
            config.sample_length,
            item.artist,
            item.genres,
            config.labels.max_genres,
        )
        tokens = lyrics_data.take(item.lyrics, lyric_window(config, item, start))
        rows.append(np.concatenate([row, tokens]))
    return np.stack(rows)


def sample_level(
    config: PriorConfig,
    weights: PriorWeights,
    *,
    total: int,
    given: np.ndarray,
    upper: np.ndarray | None,
    labels: list[Labels],
    keys: jax.Array,
    window_hop: int,
    temperature: float,
    method: Method,
    on_window: Callable[[Window, int, int], None] | None = None,
) -> Iterator[np.ndarray]:
    """Samples one level window by window; yields all codes so far after each, int32 [B, t].

    Args:
      config, weights: of the level's prior.
      total: codes of the finished track.
      given: int32 [B, t], codes that are fixed already (a prompt, or an earlier run).
      upper: int32 [B, total // ratio], the finished level above; None at the top.
      labels: of each item; used if the model is labelled.
      keys: [B], one an item.
      window_hop: codes between the starts of neighbouring windows.
      temperature: 0 is greedy.
      method: top-k and top-p.
      on_window: called before each window with (window, its number, number of windows).
    """
    seq_len = config.seq_len
    plan = plan_windows(total, seq_len, window_hop, given.shape[1])
    codes = np.asarray(given, np.int32)
    for number, window in enumerate(plan):
        if on_window is not None:
            on_window(window, number, len(plan))
        upper_codes = label_rows = None
        if config.upper is not None:
            ratio = config.upper.ratio
            if window.start % ratio:
                raise ValueError(
                    f"a window of level {config.level} starts at {window.start}, which is no "
                    f"multiple of {ratio}; change --hop_fraction"
                )
            upper_codes = fit(upper[:, window.start // ratio :], seq_len // ratio)
        if config.labels is not None:
            label_rows = window_labels(config, labels, window.start)
        inputs = WindowInputs(
            codes=jnp.asarray(fit(codes[:, window.start :], seq_len)),
            upper_codes=None if upper_codes is None else jnp.asarray(upper_codes, jnp.int32),
            labels=None if label_rows is None else jnp.asarray(label_rows, jnp.int32),
            start=jnp.int32(window.fixed),
            stop=jnp.int32(window.stop),
            offset=jnp.int32(window.start),
            keys=keys,
            temperature=jnp.float32(temperature),
        )
        filled = np.asarray(fill_window(config, method, weights, inputs))
        new = filled[:, window.fixed : window.stop]
        codes = np.concatenate([codes, new], axis=1)
        yield codes
