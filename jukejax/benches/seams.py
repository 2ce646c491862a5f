"""Times sampling of a bundle in both schedules, and measures the audibility of the joins.

All schedules of a level have the same codes of the level above, so that the rows of a level differ
by the order of the windows only; the figures are those of `jukejax.analysis.seams`. With short
windows all positions are close to a join, so that positions halfway between two joins are measured
too.
"""

import itertools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from jukejax.analysis.seams import NEAR, measure_seams
from jukejax.benches import common
from jukejax.common.progress import Progress
from jukejax.inference import generate
from jukejax.inference.loaded_model import Model
from jukejax.inference.windows import SCHEDULES
from jukejax.runtime import memory
from jukejax.runtime.precision import default_dtype

HOP_FRACTION = 0.5  # the defaults of --hop_fraction and --temperature of `sample`
TEMPERATURE = 0.98


class SampledLevel(NamedTuple):
    """A sampled level of a batch of tracks.

    Attributes:
      codes: int32 [B, t].
      joins: positions of the joins of each item.
      agreement: share of equal codes of both windows around joins; None without joins.
      seconds: without compiling.
      compile_seconds: extra time of the first batch when it ran first.
    """

    codes: np.ndarray
    joins: list[list[int]]
    agreement: float | None
    seconds: float
    compile_seconds: float


def measure_rows(values: flags.FlagValues) -> Iterator[dict[str, Any]]:
    """Yields a row for each level and schedule, and one for all levels of each schedule.

    Args:
      values: model, schedule ("both" or one), seconds, batch, dtype, weights.
    """
    dtype = values.dtype or default_dtype()
    model = Model(values.model, dtype, values.weights)
    top = len(model.hops) - 1
    if top not in model.levels:
        raise ValueError(f"--model={values.model} has no prior for level {top} to begin with")
    totals = model.totals(model.top_codes(values.seconds))
    schedules = SCHEDULES if values.schedule == "both" else (values.schedule,)
    common_fields = {
        "config": values.model,
        "batch": values.batch,
        "device": common.name_devices(),
        "dtype": dtype,
        "weights": values.weights,
    }
    codes: dict[int, np.ndarray] = {}
    schedule_seconds = dict.fromkeys(schedules, 0.0)
    for level in range(top, -1, -1):
        if level not in model.levels:
            break
        for schedule in schedules if level < top else ("sequential",):
            sampled = time_level(model, level, schedule, totals, codes.get(level + 1), values.batch)
            codes.setdefault(level, sampled.codes)
            for name in (schedule,) if level < top else schedules:
                schedule_seconds[name] += sampled.seconds
            yield common.make_row(
                "decode",
                f"level {level} {schedule}",
                **common_fields,
                seconds=sampled.seconds,
                compile_seconds=sampled.compile_seconds,
                peak_memory_bytes=memory.peak_bytes(),
                schedule=schedule,
                level=level,
                tokens=sampled.codes.size,
                tokens_per_s=sampled.codes.size / sampled.seconds,
                joins=sum(map(len, sampled.joins)),
                agreement=sampled.agreement,
                **measure_joins(model, level, sampled),
            )
    for schedule, seconds in schedule_seconds.items():
        yield common.make_row(
            "decode",
            f"all levels {schedule}",
            **common_fields,
            seconds=seconds,
            peak_memory_bytes=memory.peak_bytes(),
            schedule=schedule,
            levels=sorted(codes),
            seconds_per_second_of_audio=seconds / (values.batch * values.seconds),
        )


def time_level(
    model: Model,
    level: int,
    schedule: str,
    totals: dict[int, int],
    upper: np.ndarray | None,
    batch: int,
) -> SampledLevel:
    """Samples one level with seed 0, without labels, after its programs are compiled."""
    config, weights = model.load_prior(level)
    total, items = totals[level], range(batch)
    length = total * model.hops[level] / model.sample_rate
    labels = [model.encode_labels(level, artist=None, genre=None, total_seconds=length)] * batch
    joins: list[tuple[int, int, float]] = []
    upper_codes = None
    if upper is not None:
        upper_codes = np.stack([model.prepare_upper_codes(config, codes) for codes in upper])
    tracks = generate.LevelTracks(
        total=total,
        codes=np.zeros((batch, 0), np.int32),
        upper_codes=upper_codes,
        labels=labels,
        keys=generate.make_item_keys(0, items, level),
    )
    settings = generate.SamplingSettings(
        window_hop=model.window_hop(level, HOP_FRACTION),
        temperature=TEMPERATURE,
        schedule=schedule,
    )

    def start_level() -> Iterator[generate.LevelProgress]:
        joins.clear()
        return generate.sample_level(
            config, weights, tracks, settings, on_join=lambda *join: joins.append(join)
        )

    cold = common.time_call(lambda: next(start_level()))
    steps, started_at = start_level(), time.perf_counter()
    step = next(steps)
    warm = time.perf_counter() - started_at
    progress = Progress(f"level {level} {schedule}, codes", step.total)
    progress.update(step.done)
    for step in steps:
        progress.update(step.done)
    return SampledLevel(
        codes=step.codes,
        joins=[[code for who, code, _ in joins if who == item] for item in items],
        agreement=_mean([share for _, _, share in joins]),
        seconds=time.perf_counter() - started_at,
        compile_seconds=max(cold - warm, 0.0),
    )


def measure_joins(model: Model, level: int, sampled: SampledLevel) -> dict[str, float | None]:
    """Measures the joins of all items in the decoded audio; null without joins."""
    hop, figures = model.hops[level], []
    for codes, joins in zip(sampled.codes, sampled.joins, strict=True):
        sound = model.codec.decode(codes, level)
        at = measure_seams(sound, model.sample_rate, [join * hop for join in joins])
        if 2 * len(joins) * 4 * NEAR * model.sample_rate > len(sound):  # joins are everywhere near
            at = at._replace(flux_elsewhere=None, flux_ratio=None, jump_db_elsewhere=None)
        ends = [0, *joins, len(codes)] if joins else []
        halfway = [(a + b) * hop // 2 for a, b in itertools.pairwise(ends)]
        between = measure_seams(sound, model.sample_rate, halfway)
        figures.append(
            at._asdict() | {"flux_between": between.flux_at, "jump_db_between": between.jump_db_at}
        )
    return {name: _mean([item[name] for item in figures]) for name in figures[0]}


def _mean(values: list[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
