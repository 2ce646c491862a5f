"""Checkpoints of a run: the whole state and the loader's position, atomically, through Orbax."""

from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp

from jukejax.state import TrainState

Tree = Any
Iterator = Any


class Checkpoints:
    """The `checkpoints/` folder of a run. Saving happens in the background."""

    def __init__(self, workdir: str | Path, *, keep: int = 2):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        folder = (Path(workdir) / "checkpoints").absolute()
        self._manager = ocp.CheckpointManager(folder, options=options)

    def latest(self) -> int | None:
        """The newest complete step, None at the start of a run."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, iterator: Iterator) -> None:
        """Starts to save; a checkpoint counts only once it is complete."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), data=grain.checkpoint.CheckpointSave(iterator)
            ),
        )

    def restore(self, step: int, target: TrainState, iterator: Iterator) -> TrainState:
        """The state of `step` in `target`'s shapes and shardings; moves `iterator` there too."""
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target),
                data=grain.checkpoint.CheckpointRestore(iterator),
            ),
        )
        return restored["state"]

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def read_state(workdir: str | Path) -> dict[str, Tree]:
    """The newest checkpoint of a run as nested dictionaries of host arrays, on any machine.

    Raises:
      ValueError: there is no complete checkpoint.
    """
    folder = (Path(workdir) / "checkpoints").absolute()
    if not folder.is_dir():
        raise ValueError(f"{workdir} holds no checkpoints; is it a --workdir of train?")
    with ocp.CheckpointManager(folder) as manager:
        step = manager.latest_step()
    if step is None:
        raise ValueError(f"{workdir} holds no complete checkpoint yet; let train reach one")
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.StandardCheckpointer() as checkpointer:
        path = folder / str(step) / "state"
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
            checkpointer.metadata(path).item_metadata.tree,
        )
        return jax.tree.map(np.asarray, checkpointer.restore(path, target))
