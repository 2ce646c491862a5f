"""Reading the checkpoints of a training run on any machine, without the run's code or devices."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np

from jukejax.common import files, mirrors
from jukejax.common.config import freeze
from jukejax.common.types import Tree

DIVERGED = "diverged.json"  # in a workdir: a `Divergence`


@dataclasses.dataclass(frozen=True)
class Divergence:
    """The record of a run that diverged.

    Attributes:
      first_step: the first step that is not sound.
    """

    first_step: int
    reason: str


@dataclasses.dataclass(frozen=True)
class SavedStep:
    """A complete checkpoint of a run.

    Attributes:
      folder: absolute path of the run's checkpoints.
      step: training steps before it.
      heldout_loss: held-out loss at this step; None if it was not measured.
      sample: the held-out windows of that loss, in words.
    """

    folder: Path
    step: int
    heldout_loss: float | None = None
    sample: str = ""


def list_steps(workdir: str | Path) -> list[SavedStep]:
    """Lists the complete checkpoints of a run, the newest first.

    Raises:
      ValueError: there is no complete checkpoint.
    """
    folder = (Path(workdir) / "checkpoints").absolute()
    if not folder.is_dir():
        raise ValueError(f"{workdir} holds no checkpoints; is it a --workdir of train?")
    import orbax.checkpoint as ocp  # bundles are loaded without it

    with ocp.CheckpointManager(folder) as manager:
        steps = sorted(manager.all_steps(), reverse=True)
        metrics = {step: manager.metrics(step) or {} for step in steps}
    if not steps:
        raise ValueError(f"{workdir} holds no complete checkpoint yet; let train reach one")
    return [
        SavedStep(folder, step, metrics[step].get("loss"), metrics[step].get("sample", ""))
        for step in steps
    ]


def find_step(workdir: str | Path, step: int) -> SavedStep:
    """Finds the checkpoint of a run at a step.

    Raises:
      ValueError: there is none; names those that there are.
    """
    steps = list_steps(workdir)
    for saved in steps:
        if saved.step == step:
            return saved
    available = ", ".join(str(saved.step) for saved in reversed(steps))
    raise ValueError(
        f"{workdir} holds no checkpoint of step {step}; it has {available} (train keeps those of "
        "config.checkpoint_at and config.keep_every)"
    )


def find_best_step(workdir: str | Path) -> SavedStep:
    """Finds the checkpoint of a run with the lowest held-out loss.

    Losses are compared with that of the newest checkpoint with one if they are of its sample.

    Raises:
      ValueError: no checkpoint has a held-out loss.
    """
    measured = [saved for saved in list_steps(workdir) if saved.heldout_loss is not None]
    if not measured:
        raise ValueError(
            f"no checkpoint of {workdir} has a held-out loss; take the newest, or train with "
            "config.eval_every"
        )
    comparable = [saved for saved in measured if saved.sample == measured[0].sample]
    return min(comparable, key=lambda saved: saved.heldout_loss or 0.0)


def find_sound_step(workdir: str | Path, first_step: int) -> SavedStep | None:
    """Finds the newest checkpoint of a run that diverged at step `first_step`; None without."""
    folder = Path(workdir) / "checkpoints"
    steps = list_steps(workdir) if folder.is_dir() and any(folder.iterdir()) else []
    return next((saved for saved in steps if saved.step < first_step), None)


def describe_sound_step(workdir: str | Path, first_step: int) -> str:
    """Describes what remains of a run that diverged at step `first_step`."""
    saved = find_sound_step(workdir, first_step)
    if saved is None:
        return "no checkpoint is sound"
    return f"checkpoint {saved.step} is sound: export --checkpoint=sound takes it"


def read_divergence(workdir: str | Path) -> Divergence | None:
    """Reads the record of a run that diverged; None without.

    Raises:
      ValueError: the record is damaged.
    """
    path = Path(workdir) / DIVERGED
    if not path.exists():
        return None
    try:
        return freeze(Divergence, files.read_json(path), str(path), ignore_unknown=True)
    except ValueError as error:
        raise ValueError(
            f"{error}; the file says where the run diverged: start train again, which writes it "
            "anew, or remove it to trust all checkpoints"
        ) from error


def check_diverged(workdir: str | Path, saved: SavedStep) -> None:
    """Raises ValueError if the run diverged before a checkpoint; names the sound one."""
    record = read_divergence(workdir)
    if record is not None and saved.step >= record.first_step:
        raise ValueError(
            f"{workdir} diverged at step {record.first_step}, before its checkpoint "
            f"{saved.step}: {describe_sound_step(workdir, record.first_step)}"
        )


def select_step(workdir: str | Path, choice: str) -> SavedStep:
    """Selects the checkpoint of a run to export.

    Args:
      choice: a step; "latest"; "best", of the lowest held-out loss; "sound", the latest before the
        run diverged, if it did.

    Raises:
      ValueError: there is no such checkpoint, or the run diverged before it.
    """
    if choice.isdecimal():
        saved: SavedStep | None = find_step(workdir, int(choice))
    else:
        saved = list_steps(workdir)[0]
    record = read_divergence(workdir)
    if choice == "best":
        saved = find_best_step(workdir)
    elif choice == "sound" and record is not None:
        saved = find_sound_step(workdir, record.first_step)
    if saved is None:
        raise ValueError(f"{workdir} diverged, and none of its checkpoints is sound")
    check_diverged(workdir, saved)
    return saved


def read_step(saved: SavedStep) -> dict[str, Tree]:
    """Reads a checkpoint as nested dictionaries of host arrays.

    Raises:
      ValueError: it cannot be read.
    """
    path = saved.folder / str(saved.step)
    mirrors.fetch(path)
    try:
        return _restore_state(path / "state")
    except Exception as error:  # Orbax passes on any exception of its storage libraries
        raise ValueError(
            f"checkpoint {saved.step} of {saved.folder} cannot be read "
            f"({format_first_line(error)}); move {path} away to use an earlier one"
        ) from error


def read_state(workdir: str | Path) -> dict[str, Tree]:
    """Reads the newest readable checkpoint of a run as nested dictionaries of host arrays.

    Raises:
      ValueError: there is no complete checkpoint, or none can be read.
    """
    saved_steps = list_steps(workdir)
    for saved in saved_steps:
        try:
            return read_step(saved)
        except ValueError as error:
            print(f"warning: {error}", file=sys.stderr)
    steps = [saved.step for saved in saved_steps]
    raise ValueError(
        f"none of the checkpoints {steps} of {saved_steps[0].folder} can be read (see above)"
    )


def _restore_state(path: Path) -> dict[str, Tree]:
    import orbax.checkpoint as ocp

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
