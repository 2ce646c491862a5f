"""Runs of `sample`: the tracks of one request or of many, in an output folder; resumable.

Tracks of one shape are a batch. All batches are sampled at a level before the next level, so that
the prior of a level is loaded once.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jukejax.common import interruption
from jukejax.inference.loaded_model import Model
from jukejax.pages import report
from jukejax.runtime import distributed
from jukejax.sampling.background import BackgroundWork
from jukejax.sampling.batch_record import assign_batches, write_batches
from jukejax.sampling.folder import (
    SampleFolder,
    claim_folder,
    lock_folder,
    remove_unfinished_files,
)
from jukejax.sampling.job import SampleJob
from jukejax.sampling.plan import TrackPlan, group_by_shape, plan_tracks
from jukejax.sampling.request import Request
from jukejax.sampling.request_file import BadLines, Entry
from jukejax.sampling.shares import ALONE, Rank, select_batches
from jukejax.sampling.takes import TakeSettings


def run_jobs(
    model: Model,
    output: Path,
    jobs: Sequence[SampleJob],
    takes: TakeSettings | None = None,
    rank: Rank = ALONE,
) -> None:
    """Samples every unfinished level of the jobs of a folder; writes the page after each.

    Args:
      takes: files for other programs; None: none are written.
      rank: of this process, whose jobs these are; the first one writes the page, which it finishes
        after all others.
    """
    for job in jobs:
        job.start()
    levels = sorted({level for job in jobs for level in job.levels}, reverse=True)
    unfinished = [level for level in levels if not all(job.is_finished(level) for job in jobs)]
    background = BackgroundWork(model, unfinished, output)
    try:
        for level in levels:
            has_many = len(jobs) > 1  # one job releases the prior before it decodes
            with model.keep_prior(level) if has_many else contextlib.nullcontext():
                for job in jobs:
                    if not job.is_finished(level):
                        job.make_level(level, background.prepare)
                    job.remove_state(level)
            if level in unfinished and rank.is_writer:
                background.update_page()
        background.wait_for_page()
        for job in jobs:
            job.folder.remove_unfinished_files()
        if any(plan.request.lyrics for job in jobs for plan in job.plans):
            from jukejax.sampling.lyric_alignment import align_items

            align_items(model, output, [item for job in jobs for item in job.folder.items])
        if takes is not None:
            for job in jobs:
                job.write_takes(takes)
        if rank.count > 1:
            distributed.wait_for_processes("tracks are finished")
            distributed.leave_processes()  # nobody waits for the page, which may take minutes
        if rank.is_writer:
            remove_unfinished_files(output)
            report.write_sample_page(output)
    finally:
        background.stop()


def sample_tracks(
    model: Model,
    request: Request,
    output: Path,
    settings: dict[str, Any],
    started_at: float,
    takes: TakeSettings | None = None,
) -> float:
    """Samples the tracks of a request into `output`; returns the length of each in seconds.

    Args:
      settings: all settings that affect the tracks; those of an existing folder must be equal.
      started_at: start of the command by `time.monotonic`.
      takes: files for other programs; None: none are written.

    Raises:
      ValueError: the request does not fit the model, or lacks what `takes` need; `output` has
        other settings, or another process writes to it.
    """
    plans = plan_tracks(model, request)
    if takes is not None:
        takes.check(plans[0].initial_state.grid)
    with lock_folder(output):
        claim_folder(output, settings)
        remove_unfinished_files(output)
        job = SampleJob(model, plans, SampleFolder(output, request.items), started_at)
        _run_resumable(model, output, [job], takes)
    return plans[0].initial_state.seconds(model)


def sample_batches(
    model: Model,
    entries: Sequence[Entry],
    bad_lines: BadLines,
    output: Path,
    settings: dict[str, Any],
    started_at: float,
    takes: TakeSettings | None = None,
    rank: Rank = ALONE,
) -> tuple[int, int]:
    """Samples the tracks of many requests into `output`.

    Several processes share the tracks; each reads all requests, and writes the folders of its own.

    Args:
      bad_lines: gets the errors of requests that do not fit the model.
      settings: those of the model.
      started_at, takes: see `sample_tracks`.
      rank: of this process among those that share the tracks.

    Returns:
      The number of tracks, and of their shapes.

    Raises:
      ValueError: see `sample_tracks`.
    """
    plans, requests = _plan_entries(model, entries, bad_lines, takes)
    settings = settings | {"requests": requests}
    with lock_folder(output) if rank.is_writer else contextlib.nullcontext():
        batches = assign_batches(output, settings, plans, rank.count)
        if rank.count > 1:
            distributed.wait_for_processes("batches are assigned")
        if rank.is_writer:
            write_batches(output, settings, batches)
            remove_unfinished_files(output)
        jobs = [
            SampleJob(
                model,
                [plans[number] for number in batches[index]],
                SampleFolder(output, batches[index]),
                started_at,
                f"batch {index + 1} of {len(batches)}" if len(batches) > 1 else "",
            )
            for index in select_batches(batches, plans, rank)
        ]
        _run_resumable(model, output, jobs, takes, rank)
    return len(plans), len(group_by_shape(plans.items()))


def _plan_entries(
    model: Model, entries: Sequence[Entry], bad_lines: BadLines, takes: TakeSettings | None
) -> tuple[dict[int, TrackPlan], list[dict[str, Any] | None]]:
    """Plans the tracks of the requests.

    Returns:
      The plan of each track by the number of its folder, where a request that is skipped keeps the
      numbers of its tracks free; and the settings of each request, None for one that is skipped.
    """
    plans: dict[int, TrackPlan] = {}
    requests: list[dict[str, Any] | None] = []
    number = 0
    for entry in entries:
        settings, added = None, []
        if entry.request is not None:
            with bad_lines.check_line(entry.line):
                added = plan_tracks(model, entry.request)
                if takes is not None:
                    takes.check(added[0].initial_state.grid)
                settings = entry.settings
        if settings is not None:
            plans |= dict(enumerate(added, number))
        requests.append(settings)
        number += 1 if entry.request is None else len(entry.request.items)
    bad_lines.refuse()
    if not plans:
        raise ValueError(f"--requests={bad_lines.path} has no line that can be used; see above")
    return plans, requests


def _run_resumable(
    model: Model,
    output: Path,
    jobs: Sequence[SampleJob],
    takes: TakeSettings | None,
    rank: Rank = ALONE,
) -> None:
    try:
        run_jobs(model, output, jobs, takes, rank)
    except (KeyboardInterrupt, interruption.Stopped):
        print(f"{output} keeps finished work; the same command resumes it", file=sys.stderr)
        if rank.count > 1:
            distributed.leave_processes()
        raise
