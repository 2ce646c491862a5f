"""The order of jobs, and what happens to a chain when one of its jobs is stopped, resumed or ends.

Functions take the jobs in their order, and return them changed.
"""

import dataclasses
from collections.abc import Sequence

from jukejax.studio.job import DONE, FAILED, RUNNING, STOPPED, STOPPING, WAITING, Job


def find_next(jobs: Sequence[Job]) -> Job | None:
    """Returns the first waiting job whose chain has no unfinished job before it."""
    unfinished: set[str] = set()
    for job in jobs:
        if job.state == WAITING and job.group not in unfinished:
            return job
        if job.state != DONE:
            unfinished.add(job.group)
    return None


def stop_chain(jobs: Sequence[Job], stopped: Job) -> list[Job]:
    """Stops a job and the later ones of its chain."""
    changed = []
    for job in jobs:
        if job.identifier == stopped.identifier or _follows(job, stopped):
            if job.state == RUNNING:
                job = dataclasses.replace(job, state=STOPPING)
            elif job.state == WAITING:
                job = dataclasses.replace(job, state=STOPPED)
        changed.append(job)
    return changed


def resume_chain(jobs: Sequence[Job], resumed: Job) -> list[Job]:
    """Makes the stopped and failed jobs of a chain wait again."""
    return [
        dataclasses.replace(job, state=WAITING, message="")
        if job.group == resumed.group and job.state in (STOPPED, FAILED)
        else job
        for job in jobs
    ]


def move_chain_up(jobs: Sequence[Job], moved: Job) -> list[Job]:
    """Moves a chain before all other waiting jobs."""
    chain = [job for job in jobs if job.group == moved.group]
    rest = [job for job in jobs if job.group != moved.group]
    first = next((i for i, job in enumerate(rest) if job.state == WAITING), len(rest))
    return [*rest[:first], *chain, *rest[first:]]


def end_job(jobs: Sequence[Job], ended: Job, state: str, message: str) -> list[Job]:
    """Sets the state of an ended job; if it has failed, the rest of its chain is stopped."""
    changed = []
    for job in jobs:
        if job.identifier == ended.identifier:
            job = dataclasses.replace(job, state=state, message=message, pid=0)
        elif state == FAILED and job.state == WAITING and _follows(job, ended):
            job = dataclasses.replace(job, state=STOPPED, message="an earlier step failed")
        changed.append(job)
    return changed


def _follows(job: Job, first: Job) -> bool:
    return job.group == first.group and int(job.identifier[1:]) > int(first.identifier[1:])
