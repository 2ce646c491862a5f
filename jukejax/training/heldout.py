"""Evaluation of a model on held-out data."""

import dataclasses
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jukejax.runtime import distributed, sharding
from jukejax.training import telemetry
from jukejax.training.anneal import Anneal
from jukejax.training.program import Program
from jukejax.training.state import TrainState
from jukejax.training.telemetry import Telemetry


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Held-out metrics.

    Attributes:
      metrics: means over all batches.
      by_track: {metric: {track: mean}} for the metrics with a value for each example.
      windows: number of evaluated windows.
    """

    metrics: dict[str, float]
    by_track: dict[str, dict[str, float]]
    windows: int

    @property
    def loss(self) -> float:
        """The criterion of the best checkpoint: bits per code, or `multispectral` of a VQ-VAE.

        Other terms of a VQ-VAE's loss do not count: the spectral distance is the one that runs with
        other weights of the terms have in common.
        """
        if "bits_per_code" in self.metrics:
            return self.metrics["bits_per_code"]
        return sum(v for name, v in self.metrics.items() if name.endswith("/multispectral"))


class HeldoutCurve:
    """Evaluates the weights of a run on held-out music: on a sample of windows, at last on all.

    The sample is spread over all held-out tracks and is the same at every evaluation, also after a
    resume, unless `eval_batches` changes.

    Attributes:
      windows: number of windows of the sample.
      sample: the sample in words; losses of different samples must not be compared.
      gap: held-out less training loss of the last evaluation; {} before the first one.
    """

    def __init__(self, program: Program, rows: np.ndarray, config: ConfigDict):
        """Stores the arguments.

        Args:
          rows: indices of the rows of each global batch that this process loads.
          config: of the run.
        """
        self._program, self._rows = program, rows
        self._has_curve = bool(config.eval_every)
        batch_size, size = config.data.batch_size, program.task.heldout_size
        self._all_batches = size // batch_size
        self._batches = min(self._all_batches, config.eval_batches)
        self.windows = self._batches * batch_size
        self.sample = f"{self.windows} of {size} windows, spread over tracks"
        whole = self._all_batches * batch_size
        self._all_windows = (
            f"all {size} windows"
            if whole == size
            else f"{whole} of {size} windows, all that fill a batch"
        )
        self.gap: dict[str, float] = {}
        self._last: tuple[int, Evaluation] | None = None

    def measure_sample(
        self, step: int, state: TrainState, log: Telemetry, after_batch: Callable[[], None]
    ) -> Evaluation:
        """Evaluates the averaged weights on the sample, and logs the metrics.

        Args:
          step: training steps so far.
          after_batch: called after each batch.
        """
        evaluation = self._evaluate(state, self._batches, after_batch)
        self._last = step, evaluation
        self._log_metrics(step, "heldout", evaluation, state, log)
        return evaluation

    def measure_all(
        self, step: int, state: TrainState, log: Telemetry, after_batch: Callable[[], None]
    ) -> Evaluation:
        """Evaluates the averaged weights on all windows, and logs the metrics.

        They are logged as "heldout_all", apart from the curve of the sample, unless the sample is
        all windows, or there is no curve.
        """
        is_whole = self._batches == self._all_batches
        if is_whole and self._last is not None and self._last[0] == step:
            return self._last[1]
        evaluation = self._evaluate(state, self._all_batches, after_batch)
        split = "heldout_all" if self._has_curve and not is_whole else "heldout"
        self._log_metrics(step, split, evaluation, state, log, scope=f", {self._all_windows}")
        return evaluation

    def restart_comparison(self, state: Anneal, sample: str | None) -> Anneal:
        """Resets the best held-out loss of a resumed run if it is that of another sample.

        Args:
          state: of the checkpoint that the run continues from.
          sample: the attribute of the run that wrote it; None if it was not recorded.
        """
        if sample == self.sample or not np.isfinite(float(state.best)):
            return state
        if distributed.is_writer():
            print(
                f"held-out evaluations now use {self.sample} (before: {sample or 'the first ones'})"
                ": earlier figures are not compared with them, and the best is searched anew",
                file=sys.stderr,
            )
        return dataclasses.replace(state, best=jnp.float32(jnp.inf), stalled=jnp.int32(0))

    def _evaluate(
        self, state: TrainState, batches: int, after_batch: Callable[[], None]
    ) -> Evaluation:
        program = self._program
        averages = program.load_averages(state)
        by_batch: dict[str, list[float]] = defaultdict(list)
        by_track: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for batch in program.task.open_batches("heldout", self._rows, batches):
            placed = sharding.put_batch(program.mesh, batch)
            results = program.evaluate(averages, state.extra, placed)
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
            windows=batches * self._program.recipe.batch_size,
        )

    def _log_metrics(
        self,
        step: int,
        split: str,
        evaluation: Evaluation,
        state: TrainState,
        log: Telemetry,
        scope: str = "",
    ) -> None:
        """Logs and prints the metrics; `scope` names the windows in the line."""
        values: dict[str, Any] = evaluation.metrics | telemetry.find_track_range(
            evaluation.by_track.get("example_bits", {})
        )
        if "bits_per_code" in values:  # comparable with the training loss
            values["gap"] = values["bits_per_code"] - float(state.anneal.smoothed)
            self.gap = {"gap": values["gap"]}
            if distributed.is_writer():
                print(f"step {step}{scope}, {telemetry.format_heldout(values)}", file=sys.stderr)
        log.log_metrics(step, split, values | {"windows": evaluation.windows})


def _mean_by_name(values: dict[int, list[float]], track_names: Sequence[str]) -> dict[str, float]:
    return {track_names[track]: float(np.mean(v)) for track, v in sorted(values.items())}
