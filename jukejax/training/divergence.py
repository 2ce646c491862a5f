"""Divergence of a run: steps or an evaluation whose loss is not finite, and what remains sound."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import jax

from jukejax.common import files
from jukejax.common.formatting import format_count
from jukejax.runtime import distributed
from jukejax.weights import checkpoints

STOP_AFTER = 20  # steps in a row whose loss or gradient is not finite


class DivergenceError(ValueError):
    """A run diverged.

    Attributes:
      first_step: the first step that is not sound; earlier checkpoints are.
    """

    def __init__(self, message: str, first_step: int):
        super().__init__(message)
        self.first_step = first_step


def check_steps(metrics: Mapping[str, jax.Array], step: int, limit: int) -> None:
    """Raises DivergenceError if `limit` steps in a row, or all steps so far, were not finite.

    Updates that are not finite change no weights.

    Args:
      metrics: of step number `step` (from 1), see `state.train_step`.
      limit: if above `step`, all steps must have been skipped.
    """
    skipped = int(metrics["skipped_in_row"])
    if skipped < limit:
        return
    raise DivergenceError(
        f"{format_count(skipped, 'step')} in a row before step {step} had a loss or gradient that "
        f"is not finite, or a gradient above optimizer.skip_norm (loss {float(metrics['loss'])}, "
        f"gradient norm {float(metrics['grad_norm'])}); lower optimizer.learning_rate, or raise "
        "optimizer.warmup_steps or optimizer.skip_norm",
        step - skipped,
    )


def check_evaluation(loss: float, step: int, skipped: int) -> None:
    """Raises DivergenceError if the held-out loss after the last step is not finite.

    Args:
      skipped: steps in a row before that were not finite.
    """
    if not math.isfinite(loss):
        raise DivergenceError(
            f"the held-out loss after the last step {step} is {loss}; lower "
            "optimizer.learning_rate or raise optimizer.warmup_steps",
            step - skipped,
        )


def record_divergence(workdir: Path, error: DivergenceError, saved: Path) -> DivergenceError:
    """Writes WORKDIR/diverged.json for `export`; returns the error with the sound checkpoint.

    Args:
      saved: the workdir, or a copy of it, with all checkpoints.
    """
    if distributed.is_writer():
        record = checkpoints.Divergence(error.first_step, str(error))
        files.write_json(workdir / checkpoints.DIVERGED, dataclasses.asdict(record))
    advice = checkpoints.describe_sound_step(saved, error.first_step)
    return DivergenceError(f"{error}; {advice}", error.first_step)


def clear_divergence(workdir: Path) -> None:
    """Removes the record of an earlier divergence, as the run reached its end."""
    if distributed.is_writer():
        (workdir / checkpoints.DIVERGED).unlink(missing_ok=True)
