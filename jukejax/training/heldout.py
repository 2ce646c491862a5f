"""Evaluation of a model on held-out data."""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from jukejax.common.types import Tree
from jukejax.runtime import sharding
from jukejax.training.program import Program


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Held-out metrics.

    Attributes:
      metrics: means over all batches.
      by_track: {metric: {track: mean}} for the metrics with a value for each example.
    """

    metrics: dict[str, float]
    by_track: dict[str, dict[str, float]]

    @property
    def loss(self) -> float:
        """The criterion of the best checkpoint: bits per code, or a VQ-VAE's spectral distance."""
        if "bits_per_code" in self.metrics:
            return self.metrics["bits_per_code"]
        return sum(v for name, v in self.metrics.items() if name.endswith("/multispectral"))


def evaluate_heldout(
    program: Program,
    params: Tree,
    extra: Tree,
    *,
    rows: np.ndarray,
    limit: int | None,
    after_batch: Callable[[], None],
) -> Evaluation:
    """Computes the held-out metrics of weights.

    Args:
      rows: indices of the rows of each global batch that this process loads.
      limit: largest number of batches; None for all.
      after_batch: called after each batch.
    """
    by_batch: dict[str, list[float]] = defaultdict(list)
    by_track: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for batch in itertools.islice(program.task.open_batches("heldout", rows), limit):
        results = program.evaluate(params, extra, sharding.put_batch(program.mesh, batch))
        metrics = {name: np.asarray(value) for name, value in results.items()}
        after_batch()
        tracks = metrics.pop("track")
        for name, value in metrics.items():
            if value.ndim == 0:
                by_batch[name].append(float(value))
                continue
            for track, example in zip(tracks, value, strict=True):
                by_track[name][int(track)].append(float(example))
    return Evaluation(
        metrics={name: float(np.mean(values)) for name, values in by_batch.items()},
        by_track={
            name: _mean_by_name(tracks, program.task.track_names)
            for name, tracks in by_track.items()
        },
    )


def _mean_by_name(values: dict[int, list[float]], track_names: Sequence[str]) -> dict[str, float]:
    return {track_names[track]: float(np.mean(v)) for track, v in sorted(values.items())}
