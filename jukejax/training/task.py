"""What a task gives the training loop, which knows nothing else of the model it trains."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import jax
import numpy as np

from jukejax.common.types import Tree
from jukejax.data import corpus
from jukejax.training.flops import Work

Metrics = dict[str, jax.Array]


@dataclass(frozen=True)
class WholeBatch:
    """How `extra` moves with a batch that is worked through in parts (gradient accumulation).

    Attributes:
      begin: (params, extra, parts, key) -> extra, before the first part; leaves of `parts` are
        [parts, rows of a part, ...].
      loss: (params, extra, part, key) -> (loss, (kept, metrics)); `extra` stays as it is, and
        leaves of `kept` are [rows of a part, ...].
      end: (extra, kept, key) -> (extra, metrics); leaves of `kept` are [rows of the batch, ...] in
        the batch's own order.
    """

    begin: Callable[[Tree, Tree, dict, jax.Array], Tree]
    loss: Callable[[Tree, Tree, dict, jax.Array], tuple[jax.Array, tuple[Tree, Metrics]]]
    end: Callable[[Tree, Tree, jax.Array], tuple[Tree, Metrics]]


@dataclass(frozen=True)
class Preview:
    """What can be heard and seen of a model while it trains.

    Attributes:
      audio: {name: float32 [time]}, mono.
      sample_rate: of it, in Hz.
      histograms: {name: numbers of any shape} whose spread is shown.
      original: the sound that all others are copies of; None if they are not.
      figures: {name: number} to be logged with the held-out ones.
    """

    audio: dict[str, np.ndarray]
    sample_rate: int
    histograms: dict[str, np.ndarray]
    original: str | None = None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A model to train and its data.

    Attributes:
      name: "vqvae" or "prior".
      init: key -> (params, extra); `extra` is state without gradient, such as codebooks.
      loss: (params, extra, batch, key) -> (loss, (new_extra, metrics)), in training mode.
      evaluate: (params, extra, batch) -> metrics, deterministic: scalars, and arrays [B] of what is
        known of each example.
      batches: (split, rows) -> iterator of batches; "train" is endless, "heldout" ends. `rows` says
        which rows of each global batch to load; without it all. Iterators have `get_state` and
        `set_state`.
      batch_shapes: number of examples -> shapes and types of a batch.
      finish: (params, extra, workdir, evaluation) -> what summary.json says of the held-out set.
      describe: () -> what model.json says: the model's frozen config and what belongs to it.
      corpus_hash: of the data set that it trains on; "" without one.
      epoch_size: windows in one pass over the training split; 0 without a data set.
      example_codes: codes in an example ("tokens" of a prior), or samples for a VQ-VAE.
      track_names: of the held-out tracks, by the "track" of a batch.
      whole_batch: see `WholeBatch`; None if `extra` does not move.
      preview: (params, extra) -> what to let the owner hear; every process calls it, at the same
        step. None if there is nothing to hear.
      work: FLOPs of a training step on one example, by part of the model (see `flops`).
    """

    name: str
    init: Callable[[jax.Array], tuple[Tree, Tree]]
    loss: Callable[[Tree, Tree, dict, jax.Array], tuple[jax.Array, tuple[Tree, Metrics]]]
    evaluate: Callable[[Tree, Tree, dict], Metrics]
    batches: Callable[..., Iterator[dict]]
    batch_shapes: Callable[[int], dict[str, jax.ShapeDtypeStruct]]
    finish: Callable[[Tree, Tree, str, dict[str, float]], dict]
    describe: Callable[[], dict] = dict
    corpus_hash: str = ""
    epoch_size: int = 0
    example_codes: int = 1
    track_names: tuple[str, ...] = ()
    whole_batch: WholeBatch | None = None
    preview: Callable[[Tree, Tree], Preview] | None = None
    work: Mapping[str, Work] = field(default_factory=dict)


def data_facts(dataset: corpus.Dataset | None, samples: int) -> dict:
    """Fields of a `Task` that follow from its data set and its windows of so many samples."""
    if dataset is None:
        return {}
    return {
        "corpus_hash": dataset.corpus_hash,
        "epoch_size": sum(track.samples // samples for track in dataset.tracks("train")),
        "track_names": tuple(track.name for track in dataset.tracks("heldout")),
    }


def to_host(array: jax.Array) -> np.ndarray:
    """What all processes computed together, whole, on each of them (all of them must call this)."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(array, tiled=True)
