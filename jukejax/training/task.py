"""The interface between the training loop and the models that it trains."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grain
import jax
import numpy as np

from jukejax.common.types import Tree
from jukejax.data import corpus, epochs, mixture
from jukejax.training.flops import Work

Batch = dict[str, Any]  # arrays by name, the examples along the first axis
Metrics = dict[str, jax.Array]


@dataclass(frozen=True)
class Preview:
    """Audio and histograms of a model during training.

    Attributes:
      audio: {name: float32 [time]}, mono.
      sample_rate: of the audio, in Hz.
      histograms: {name: values of any shape} whose distributions are logged.
      original: name of the audio that all others reconstruct; None without reconstructions.
      figures: {name: number} to log with the held-out metrics.
    """

    audio: dict[str, np.ndarray]
    sample_rate: int
    histograms: dict[str, np.ndarray]
    original: str | None = None
    figures: dict[str, float] = field(default_factory=dict)


class Task(abc.ABC):
    """Defines a model to train, its loss and its data.

    `init_params`, `loss`, `evaluate` and the three methods for gradient accumulation are pure
    functions of their arguments: they are traced by JAX. `extra` is model state without a gradient,
    such as the codebooks of a VQ-VAE.

    Attributes:
      name: "vqvae" or "prior".
      fixed_params: names of parameters that never change, whatever the optimizer does.
      example_codes: codes in an example ("tokens" of a prior), or samples for a VQ-VAE.
      work: FLOPs of a training step on one example, by part of the model (see `flops`).
      corpus_hash: of the data set; "" without one.
      epoch_size: windows in one pass over the training split, see `mixture.count_epoch`; 0 without
        a data set.
      heldout_size: windows of the held-out split; 0 without a data set.
      track_names: of the held-out tracks, indexed by the "track" of a batch.
      short_tracks: a line for each split with tracks that are shorter than a window.
      sample_rate: of the audio in a batch, in Hz; None for codes.
      saves_extra: whether `extra` changes, so that checkpoints need it; else it is loaded again
        from `config.init_from`.
    """

    name: ClassVar[str]
    saves_extra: ClassVar[bool] = True
    fixed_params: tuple[str, ...] = ()
    example_codes: int = 1
    work: Mapping[str, Work] = {}
    corpus_hash: str = ""
    epoch_size: int = 0
    heldout_size: int = 0
    track_names: tuple[str, ...] = ()
    short_tracks: tuple[str, ...] = ()
    sample_rate: int | None = None
    _dataset: corpus.Dataset | None = None

    @property
    def dataset(self) -> corpus.Dataset:
        """The data set; only for a task with data."""
        assert self._dataset is not None, "the task has no data"
        return self._dataset

    def set_dataset(self, dataset: corpus.Dataset, window_samples: int, key: str) -> None:
        """Sets the data set and the attributes that follow from it.

        Args:
          window_samples: samples of audio in an example.
          key: config key that sets the length of an example.
        """
        self._dataset = dataset
        self.corpus_hash = dataset.corpus_hash
        self.epoch_size = mixture.count_epoch(dataset, "train", window_samples)
        self.heldout_size = epochs.count_windows(dataset.tracks("heldout"), window_samples)
        self.track_names = tuple(track.name for track in dataset.tracks("heldout"))
        lines = [
            epochs.describe_short_tracks(
                dataset.tracks(split),
                size=window_samples,
                split=split,
                key=key,
                sample_rate=dataset.table.sample_rate,
            )
            for split in corpus.SPLITS
        ]
        self.short_tracks = tuple(line for line in lines if line)

    @abc.abstractmethod
    def init_params(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Returns new (params, extra)."""

    def split_weights(self, params: Tree, extra: Tree, key: jax.Array) -> tuple[Tree, Tree]:
        """Returns (params, extra) of a new run from those of a trained model.

        Args:
          key: PRNG key of the run, for weights that the model does not have.
        """
        del key
        return params, extra

    def join_weights(self, params: Tree, extra: Tree) -> Tree:
        """Returns the parameters of the model from those of a run."""
        del extra
        return params

    @abc.abstractmethod
    def loss(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        """Computes the training loss of a batch. Returns (loss, (updated extra, metrics))."""

    @abc.abstractmethod
    def evaluate(self, params: Tree, extra: Tree, batch: Batch) -> Metrics:
        """Computes the held-out metrics of a batch, without noise: scalars, or [B] by example."""

    # With gradient accumulation `extra` is still updated once a batch, from all rows. The defaults
    # are for tasks whose `extra` does not change.

    def start_extra(self, params: Tree, extra: Tree, parts: Batch, key: jax.Array) -> Tree:
        """Initializes `extra` from a global batch if it is not initialized.

        Args:
          parts: the batch; its leaves are [parts, rows of a part, ...].
        """
        del params, parts, key
        return extra

    def part_loss(
        self, params: Tree, extra: Tree, part: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        """Computes the loss of a part of a batch. Returns (loss, (statistics, metrics)).

        The leaves of `statistics` are [rows of the part, ...]: the input of `update_extra`.
        """
        loss, (_, metrics) = self.loss(params, extra, part, key)
        return loss, ((), metrics)

    def update_extra(self, extra: Tree, statistics: Tree, key: jax.Array) -> tuple[Tree, Metrics]:
        """Updates `extra` from the statistics of a global batch, with rows in its order."""
        del statistics, key
        return extra, {}

    # -- Data ------------------------------------------------------------------------------------

    @abc.abstractmethod
    def open_batches(
        self, split: str, rows: np.ndarray | None = None, limit: int | None = None
    ) -> grain.DatasetIterator:
        """Opens the batches of a split: "train" is endless, "heldout" ends.

        Args:
          rows: indices of the rows to load of each global batch; None for all.
          limit: largest number of held-out batches, spread over tracks and positions.
        """

    @abc.abstractmethod
    def batch_shapes(self, examples: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns the shapes and types of a batch of `examples` examples."""

    # -- Results ---------------------------------------------------------------------------------

    def make_preview(self, params: Tree, extra: Tree) -> Preview | None:
        """Generates or reconstructs audio with the averaged weights; None without a preview.

        All processes must call it at the same step.
        """
        del params, extra
        return None

    def finish_run(
        self, params: Tree, extra: Tree, workdir: str, evaluation: dict[str, float]
    ) -> dict[str, float]:
        """Writes the task's files of a finished run; returns the held-out metrics of summary.json.

        Args:
          evaluation: held-out metrics of the averaged weights.
        """
        del params, extra, workdir
        return evaluation

    def describe(self) -> dict[str, Any]:
        """Returns the content of description.json: the model's config, rates and vocabulary."""
        return {}


def to_host(array: jax.Array) -> np.ndarray:
    """Returns the global array on every process; all processes must call it."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(array, tiled=True)
