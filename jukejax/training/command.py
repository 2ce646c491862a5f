"""The work of the command `train`: a training run in its process group, or a dry run."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from jukejax.common import interruption, output_locks
from jukejax.runtime import distributed
from jukejax.training import checkpoint, config_keys, dry_run, run_store
from jukejax.training.loop import Training


def train_model(config: ConfigDict, workdir: str, place: distributed.Place) -> None:
    """Trains the model of a config, and prints its held-out metrics in the writing process.

    Args:
      workdir: folder of the run, local or in a bucket.
      place: this process among those of the run.

    Raises:
      ValueError: the config or its data cannot be used, or the run diverges.
      interruption.Stopped, KeyboardInterrupt: SIGTERM or Ctrl-C, after a checkpoint.
    """
    logging.getLogger("absl").addFilter(checkpoint.is_worth_logging)
    distributed.join_processes(place)
    try:
        checked = config_keys.check_config(config)
        with run_store.open_workdir(workdir) as (folder, store), lock_workdir(folder):
            training = Training(checked, folder, store)
            if distributed.is_writer():
                for line in training.task.short_tracks:
                    print(f"warning: {line}", file=sys.stderr)
            summary = training.run()
    except interruption.Stopped:
        distributed.leave_processes()
        raise
    distributed.leave_processes()
    if distributed.is_writer():
        for name, value in summary["heldout"].items():
            print(f"heldout {name}: {value if not isinstance(value, float) else round(value, 4)}")


@contextlib.contextmanager
def lock_workdir(workdir: Path) -> Iterator[None]:
    """Locks a workdir against a second run; of several processes, the writing one does."""
    if not distributed.is_writer():
        yield
        return
    with output_locks.lock_file(workdir / ".lock", workdir, "train"):
        yield


def print_plan(config: ConfigDict, mode: str) -> None:
    """Prints the needs of a run, line by line; `mode` is a value of `dry_run.DryRun`."""
    for line in dry_run.plan_run(config_keys.check_config(config), mode):
        print(line, flush=True)
