"""Checkpoints of a training run, read on any machine and without the run."""

import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from jukejax.common.types import Tree


def read_state(workdir: str | Path, *, best: bool = False) -> dict[str, Tree]:
    """A checkpoint of a run as nested dictionaries of host arrays, on any machine.

    Args:
      best: the one with the lowest held-out loss; otherwise the newest that can be read.

    Raises:
      ValueError: there is no complete checkpoint; none can be read; none has a held-out loss.
    """
    folder = (Path(workdir) / "checkpoints").absolute()
    if not folder.is_dir():
        raise ValueError(f"{workdir} holds no checkpoints; is it a --workdir of train?")
    with ocp.CheckpointManager(folder) as manager:
        steps = sorted(manager.all_steps(), reverse=True)
        if not steps:
            raise ValueError(f"{workdir} holds no complete checkpoint yet; let train reach one")
        if best:
            known = {step: found for step in steps if (found := manager.metrics(step))}
            if not known:
                raise ValueError(
                    f"no checkpoint of {workdir} has a held-out loss; take the newest, or train "
                    "with config.eval_every"
                )
            steps = [min(known, key=lambda step: known[step]["loss"])]
    for step in steps:
        try:
            return _read(folder / str(step) / "state")
        except Exception as error:  # Orbax lets whatever its storage raises through
            reason = first_line(error)
            print(
                f"warning: checkpoint {step} of {folder} cannot be read ({reason})", file=sys.stderr
            )
    raise ValueError(f"none of the checkpoints {steps} of {folder} can be read (see above)")


def _read(path: Path) -> dict[str, Tree]:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.StandardCheckpointer() as checkpointer:
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
            checkpointer.metadata(path).item_metadata.tree,
        )
        return jax.tree.map(np.asarray, checkpointer.restore(path, target))


def first_line(error: Exception) -> str:
    """Of what an error says, which from Orbax may be pages; its name if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
