"""Checkpoints of a run: the whole state and the loader's position, atomically, through Orbax.

Each is a folder: `state` (raw and averaged weights, optimizer, codebooks, schedule, counters),
`data` (the loader's position, the same on every process) and `about` (corpus, versions). Saved on
any number of devices and processes, it is restored on any other, bit for bit.
"""

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jukejax.runtime import distributed
from jukejax.training.state import TrainState
from jukejax.weights.checkpoints import format_first_line

Iterator = Any


class Checkpoints:
    """The `checkpoints/` folder of a run: the newest `keep`, and the best. Saves in the background.

    Attributes:
      folder: where they are.
    """

    def __init__(self, workdir: str | Path, *, keep: int = 2, keep_best: int = 1):
        """Opens the folder, or makes it.

        Args:
          keep: newest checkpoints to keep.
          keep_best: checkpoints to keep with the lowest held-out loss.
        """
        # Orbax's save-decision policies are not used: the training loop decides when to save (every
        # checkpoint_every steps, after a better held-out loss, at the last step and on SIGTERM).
        best = BestN(
            get_metric_fn=lambda metrics: metrics["loss"],
            reverse=True,
            n=keep_best,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(keep), best]),
            best_fn=best.get_metric_fn,  # without it Orbax keeps the metrics in memory only
            best_mode="min",
            create=True,
        )
        self.folder = (Path(workdir) / "checkpoints").absolute()
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

    def latest(self) -> int | None:
        """The newest complete step, None at the start of a run."""
        return self._manager.latest_step()

    def describe_last(self) -> str:
        """Describes the newest complete checkpoint; safe to call from any thread."""
        steps = [int(path.name) for path in self.folder.iterdir() if path.name.isdecimal()]
        if not steps:
            return "nothing was saved yet"
        return f"last saved at step {max(steps)}; the same command goes on from there"

    def save(
        self, step: int, state: TrainState, iterator: Iterator, about: dict, loss: float | None
    ) -> None:
        """Starts to save, if that step is not saved; a checkpoint counts only once it is complete.

        Args:
          about: what the checkpoint says of the run, JSON.
          loss: held-out loss at this step, by which the best is kept; None if it was not measured.
        """
        if step == self.latest():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=ocp.args.JsonSave(_plain_state(iterator.get_state())),
                about=ocp.args.JsonSave(about | {"step": step, "versions": versions()}),
            ),
            metrics=None if loss is None else {"loss": loss},
        )

    def restore(self, target: TrainState, iterator: Iterator) -> tuple[TrainState, dict] | None:
        """The newest checkpoint that can be read, in `target`'s shapes and shardings.

        Moves `iterator` to where it was. A damaged checkpoint is named, set aside and passed over.

        Returns:
          The state and what the checkpoint says of the run; None if there is none.

        Raises:
          ValueError: there are checkpoints, and none of them can be read.
        """
        damaged = []
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                restored = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(target),
                        data=ocp.args.JsonRestore(),
                        about=ocp.args.JsonRestore(),
                    ),
                )
            except Exception as error:  # Orbax lets whatever its storage raises through
                damaged.append((step, format_first_line(error)))
                continue
            for bad, reason in damaged:
                print(
                    f"warning: checkpoint {bad} of {self.folder} cannot be read ({reason}); set "
                    f"aside as damaged_{bad}",
                    file=sys.stderr,
                )
                self._set_aside(bad)
            iterator.set_state(restored["data"])
            return restored["state"], restored["about"]
        if steps:
            raise ValueError(
                f"none of the checkpoints of {self.folder} can be read (the newest: "
                f"{damaged[0][1]}); nothing was changed; take another --workdir to start anew"
            )
        return None

    def _set_aside(self, step: int) -> None:
        """Renames a checkpoint, so that the run can come to that step again."""
        if distributed.is_writer():
            os.replace(self.folder / str(step), self.folder / f"damaged_{step}")
        distributed.barrier(f"set aside {step}")
        self._manager.reload()

    def reached_preemption(self, step: int) -> bool:
        """Whether the machine is being taken away; true at the same step on every process."""
        return self._manager.reached_preemption(step)

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def versions() -> dict[str, str]:
    """The origin of a checkpoint."""
    return {name: metadata.version(name) for name in ("jax", "flax", "orbax-checkpoint", "jukejax")}


def _plain_state(state: Any) -> Any:
    """A loader's state as JSON holds it."""
    if isinstance(state, dict):
        return {key: _plain_state(value) for key, value in state.items()}
    return state.item() if isinstance(state, np.generic) else state
