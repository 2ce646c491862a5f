"""The learning rate over a run: its description, and warnings before the start."""

import sys

import numpy as np

from jukejax.runtime import distributed
from jukejax.training.anneal import ScheduleConfig
from jukejax.training.optim import OptimizerConfig, make_schedule

MOST_POINTS = 1_000_000  # steps whose rates are computed at once


def describe_rate(optimizer: OptimizerConfig, steps: int) -> str:
    """Describes the planned rate: `warm-up to step 100, full to 110,000, zero at 120,000`."""
    parts = [f"warm-up to step {optimizer.warmup_steps:,}"] if optimizer.warmup_steps else []
    start = optimizer.decay_start
    if start is None or start >= steps:
        parts.append("then constant" if optimizer.gamma == 1.0 else f"falls by {optimizer.gamma}")
    else:
        parts.append(f"full to {start:,}, zero at {start + optimizer.decay_steps:,}")
    return ", ".join(parts)


def warn_of_rate(optimizer: OptimizerConfig, schedule: ScheduleConfig, steps: int) -> None:
    """Prints the lines of `find_rate_warnings`, in the writing process."""
    if distributed.is_writer():
        for line in find_rate_warnings(optimizer, schedule, steps):
            print(f"warning: {line}", file=sys.stderr)


def find_rate_warnings(
    optimizer: OptimizerConfig, schedule: ScheduleConfig, steps: int
) -> list[str]:
    """Returns a line for each fault of the planned rate: zero for a stretch, or never falling."""
    points = np.unique(np.linspace(0, steps - 1, min(steps, MOST_POINTS)).astype(np.int64))
    rates = np.asarray(make_schedule(optimizer)(points))
    peak = float(rates.max())
    idle = points[(rates <= 0) & (points > 0)]
    if peak <= 0:
        return [
            f"the learning rate is 0 in all {steps:,} steps; raise optimizer.learning_rate or steps"
        ]
    warnings = []
    if len(idle) > 1 and idle[-1] == points[-1]:
        share = 100 * (steps - idle[0]) / steps
        warnings.append(
            f"the learning rate is 0 from step {idle[0]:,} to the end at {steps:,} "
            f"({share:.0f} % of the run); raise optimizer.decay_start or decay_steps, or lower "
            "steps"
        )
    may_anneal = schedule.anneal_at_bits is not None or schedule.anneal_on_stall > 0
    if optimizer.warmup_steps >= steps:
        warnings.append(
            f"the learning rate is still warming up at the last step {steps:,}; lower "
            f"optimizer.warmup_steps={optimizer.warmup_steps:,}"
        )
    elif rates[-1] >= peak and not may_anneal:
        warnings.append(
            "the learning rate never falls; set optimizer.decay_start and decay_steps, or "
            "schedule.anneal_on_stall, if it should"
        )
    elif rates[-1] > 0.5 * peak and not may_anneal:
        warnings.append(
            f"the learning rate only falls to {100 * rates[-1] / peak:.0f} % of its peak by the "
            f"last step {steps:,}; lower optimizer.decay_start or decay_steps if it should reach 0"
        )
    return warnings
