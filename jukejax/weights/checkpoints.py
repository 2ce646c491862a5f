"""Reading the checkpoints of a training run on any machine, without the run's code or devices."""

import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from jukejax.common.types import Tree


def read_state(workdir: str | Path, *, best: bool = False) -> dict[str, Tree]:
    """Reads a checkpoint of a run as nested dictionaries of host arrays.

    Args:
      best: read the checkpoint with the lowest held-out loss, not the newest readable one.

    Raises:
      ValueError: there is no complete checkpoint, none can be read, or none has a held-out loss.
    """
    folder = (Path(workdir) / "checkpoints").absolute()
    if not folder.is_dir():
        raise ValueError(f"{workdir} holds no checkpoints; is it a --workdir of train?")
    with ocp.CheckpointManager(folder) as manager:
        steps = sorted(manager.all_steps(), reverse=True)
        if not steps:
            raise ValueError(f"{workdir} holds no complete checkpoint yet; let train reach one")
        if best:
            metrics = {step: logged for step in steps if (logged := manager.metrics(step))}
            if not metrics:
                raise ValueError(
                    f"no checkpoint of {workdir} has a held-out loss; take the newest, or train "
                    "with config.eval_every"
                )
            steps = [min(metrics, key=lambda step: metrics[step]["loss"])]
    for step in steps:
        try:
            return _restore_state(folder / str(step) / "state")
        except Exception as error:  # Orbax passes on any exception of its storage libraries
            reason = format_first_line(error)
            print(
                f"warning: checkpoint {step} of {folder} cannot be read ({reason})", file=sys.stderr
            )
    raise ValueError(f"none of the checkpoints {steps} of {folder} can be read (see above)")


def _restore_state(path: Path) -> dict[str, Tree]:
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.StandardCheckpointer() as checkpointer:
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            checkpointer.metadata(path).item_metadata.tree,
        )
        return jax.tree.map(np.asarray, checkpointer.restore(path, target))


def format_first_line(error: Exception) -> str:
    """Returns the first line of an error's message (Orbax's are long), or the error's name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
