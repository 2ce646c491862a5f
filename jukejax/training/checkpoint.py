"""Checkpoints of a run: the training state and the loader's position, written atomically by Orbax.

Each checkpoint is a folder: `state` (raw and averaged weights, optimizer, codebooks, schedule,
counters), `data` (the loader's position, the same on every process) and `about` (corpus, versions).
It can be restored bit for bit on any number of devices and processes.
"""

import errno
import logging
import math
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jukejax.common import files
from jukejax.runtime import distributed
from jukejax.training.kept_steps import Milestones
from jukejax.training.run_store import RunStore
from jukejax.training.state import TrainState
from jukejax.weights.checkpoints import format_first_line

Iterator = Any
OVERHEAD_BYTES = 1 << 18  # of a checkpoint's folders and metadata
NO_MILESTONES = Milestones()


class Checkpoints:
    """Manages the `checkpoints/` folder of a run, and saves in the background.

    Attributes:
      folder: absolute path of the folder; in a bucket for several processes.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        keep: int = 2,
        keep_best: int = 1,
        sample: str = "",
        milestones: Milestones = NO_MILESTONES,
        store: RunStore | None = None,
    ):
        """Opens the folder, or creates it.

        Args:
          keep: number of the newest checkpoints to keep.
          keep_best: number of the checkpoints with the lowest held-out loss to keep.
          sample: of held-out windows; a loss of another sample is as good as none.
          milestones: steps whose checkpoints are kept beside these.
          store: of a workdir in a bucket.
        """
        # Orbax's save-decision policies are not used: the training loop decides when to save (every
        # checkpoint_every steps, at milestones, after a better held-out loss, at the last step and
        # on SIGTERM).
        best = BestN(
            get_metric_fn=lambda metrics: (
                metrics["loss"] if metrics.get("sample") == sample else math.inf
            ),
            reverse=True,
            n=keep_best,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy(
                [LatestN(keep), best, *milestones.make_policies()]
            ),
            best_fn=best.get_metric_fn,  # without it Orbax keeps the metrics in memory only
            best_mode="min",
            create=True,
        )
        self._sample, self._is_closed, self._store = sample, False, store
        self.folder = (
            (Path(workdir) / "checkpoints").absolute() if store is None else store.checkpoints
        )
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "data": ocp.JsonCheckpointHandler(),
            "about": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=options,
            item_handlers=handlers,
        )

    def latest_step(self) -> int | None:
        """Returns the step of the newest complete checkpoint; None without a checkpoint."""
        return self._manager.latest_step()

    def describe_last(self) -> str:
        """Describes the newest complete checkpoint; safe to call from any thread."""
        if self._store is None:
            steps = (int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())
            step = max(steps, default=None)
        else:
            step = self.latest_step() if self._store.is_shared else self._store.latest_step()
        if step is None:
            return "no checkpoint was saved yet"
        return f"last checkpoint: step {step}; run the same command again to continue from it"

    def save(
        self, step: int, state: TrainState, iterator: Iterator, about: dict, loss: float | None
    ) -> None:
        """Starts to save a checkpoint in the background, unless this step is already saved.

        An incomplete checkpoint is ignored by `latest_step` and `restore`.

        Args:
          about: JSON object that describes the run.
          loss: held-out loss at this step, which ranks checkpoints for `keep_best`; None if it was
            not measured.

        Raises:
          OSError: the disk has no room for it.
        """
        if step == self.latest_step():
            return
        self._check_space(state)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=ocp.args.JsonSave(_to_json_state(iterator.get_state())),
                about=ocp.args.JsonSave(about | {"step": step, "versions": collect_versions()}),
            ),
            metrics=None if loss is None else {"loss": loss, "sample": self._sample},
        )

    def _check_space(self, state: TrainState) -> None:
        """Raises OSError if the disk has no room: Orbax's threads would fail with tracebacks."""
        self._wait_until_finished()
        if self._store is not None and self._store.is_shared:
            return
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + OVERHEAD_BYTES
        if shutil.disk_usage(self.folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    def restore(self, target: TrainState, iterator: Iterator) -> tuple[TrainState, dict] | None:
        """Restores the newest readable checkpoint, and moves `iterator` to its position.

        Damaged checkpoints are reported, renamed to `damaged_STEP` and skipped.

        Args:
          target: shapes, types and shardings of the state.

        Returns:
          (state, about); None without a checkpoint.

        Raises:
          ValueError: none of the existing checkpoints can be read.
        """
        damaged = []
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            if self._store is not None:
                self._store.fetch(step)
            try:
                restored = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(target),
                        data=ocp.args.JsonRestore(),
                        about=ocp.args.JsonRestore(),
                    ),
                )
            except Exception as error:  # Orbax passes on any exception of its storage libraries
                damaged.append((step, format_first_line(error)))
                continue
            for damaged_step, reason in damaged:
                print(
                    f"warning: checkpoint {damaged_step} of {self.folder} cannot be read "
                    f"({reason}); set aside as damaged_{damaged_step}",
                    file=sys.stderr,
                )
                self._set_aside(damaged_step)
            iterator.set_state(restored["data"])
            return restored["state"], restored["about"]
        if steps:
            raise ValueError(
                f"none of the checkpoints of {self.folder} can be read (the newest: "
                f"{damaged[0][1]}); nothing was changed; take another --workdir to start anew"
            )
        return None

    def _set_aside(self, step: int) -> None:
        """Renames a checkpoint, so that the run can save this step again."""
        if distributed.is_writer():
            if self._store is not None:
                self._store.set_aside(step, f"damaged_{step}")
            else:
                os.replace(self.folder / str(step), self.folder / f"damaged_{step}")
        distributed.barrier(f"set aside {step}")
        self._manager.reload()

    def reached_preemption(self, step: int) -> bool:
        """Returns true if the machine will be preempted, at the same step on every process."""
        return self._manager.reached_preemption(step)

    def close(self) -> None:
        """Waits until all checkpoints are on disk, and closes the manager."""
        if not self._is_closed:
            self._is_closed = True
            self._wait_until_finished()
            self._manager.close()

    def _wait_until_finished(self) -> None:
        self._manager.wait_until_finished()
        if self._store is not None:
            self._store.wait()


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Filters Orbax's tracebacks of a full disk, whose error is raised in the main thread too."""
    return not (record.exc_info and files.is_disk_full(record.exc_info[1]))


def collect_versions() -> dict[str, str]:
    """Returns the versions of the packages that write a checkpoint."""
    return {name: metadata.version(name) for name in ("jax", "flax", "orbax-checkpoint", "jukejax")}


def _to_json_state(state: Any) -> Any:
    """Converts the NumPy scalars in a loader's state to Python numbers for JSON."""
    if isinstance(state, dict):
        return {key: _to_json_state(value) for key, value in state.items()}
    return state.item() if isinstance(state, np.generic) else state
