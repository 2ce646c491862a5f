"""The config of a run that continues: what may change between two starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukejax.common import files
from jukejax.common.config import freeze
from jukejax.training import following_steps
from jukejax.weights import adapters

# Config keys that may change between two starts of one run; all others define the run.
MAY_CHANGE = {"steps", "log_every", "eval_every", "eval_batches", "checkpoint_every", "keep"}
MAY_CHANGE |= {"keep_best", "mesh", "accumulate", "tensorboard", "max_skipped", "wandb"}
MAY_CHANGE |= {"sample_every", "vqvae", "audit", "peak_flops", "checkpoint_at", "keep_every"}
MAY_CHANGE |= {"profile"}


@dataclass(frozen=True)
class FinishedRun:
    """Describes the summary.json of a finished run, as far as it is read.

    Attributes:
      ended: it ended before `config.steps`, as planned.
      corpus_hash: of its data set; None in summaries of earlier versions.
    """

    steps: int
    ended: bool = False
    corpus_hash: str | None = None


def read_finished(workdir: Path, steps: int) -> FinishedRun | None:
    """Reads the summary of a finished run; None if the run is not finished.

    Args:
      steps: of its config.

    Raises:
      ValueError: the summary is damaged.
    """
    path = workdir / "summary.json"
    if not path.exists():
        return None
    finished = freeze(FinishedRun, files.read_json(path), str(path), ignore_unknown=True)
    return finished if finished.steps >= steps or finished.ended else None


def check_same_corpus(workdir: Path, folder: str, stored: str | None, current: str) -> None:
    """Checks that the data of a run is what it began with.

    Args:
      folder: of the data.
      stored: its `corpus_hash` when the run began; None if it is not known.
      current: its `corpus_hash` now.

    Raises:
      ValueError: it is another corpus.
    """
    if stored is not None and stored != current:
        raise ValueError(
            f"data.folder {folder} is not the data that {workdir} began with; give that, or take "
            "another --workdir"
        )


def check_same_base(workdir: Path, description: Mapping[str, Any]) -> None:
    """Checks that the adapters of an existing workdir are of the base of this start.

    Args:
      description: of the task.

    Raises:
      ValueError: they are of another base.
    """
    path = workdir / "description.json"
    current = adapters.read_record(description, path)
    stored = adapters.read_record(files.read_json_if_any(path), path)
    if current is not None and stored is not None and current.hash != stored.hash:
        raise ValueError(
            f"{workdir} trains adapters of another model than {current.path}: of "
            f"{stored.hash[:12]}, and that is {current.hash[:12]} (sha256 of the parameters); give "
            "that, or take another --workdir"
        )


def check_same_run(workdir: Path, config: dict) -> None:
    """Checks that an existing workdir belongs to this config.

    With other steps, the schedule that follows them may differ too.

    Raises:
      ValueError: a key differs that is not in `MAY_CHANGE`.
    """
    path = workdir / "config.json"
    compared = following_steps.keep_schedule(config, files.read_json_if_any(path))
    files.check_settings(path, compared, flag="--workdir", prefix="config.", may_change=MAY_CHANGE)
