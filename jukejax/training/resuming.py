"""The config of a run that continues: what may change between two starts."""

from pathlib import Path

from jukejax.common import files
from jukejax.training import following_steps

# Config keys that may change between two starts of one run; all others define the run.
MAY_CHANGE = {"steps", "log_every", "eval_every", "eval_batches", "checkpoint_every", "keep"}
MAY_CHANGE |= {"keep_best", "mesh", "accumulate", "tensorboard", "max_skipped", "wandb"}
MAY_CHANGE |= {"sample_every", "vqvae", "audit", "peak_flops"}


def check_same_run(workdir: Path, config: dict) -> None:
    """Checks that an existing workdir belongs to this config.

    With other steps, the schedule that follows them may differ too.

    Raises:
      ValueError: a key differs that is not in `MAY_CHANGE`.
    """
    path = workdir / "config.json"
    compared = following_steps.keep_schedule(config, files.read_json_if_any(path))
    files.check_settings(path, compared, flag="--workdir", prefix="config.", may_change=MAY_CHANGE)
