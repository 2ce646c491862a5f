"""ROOT/jobs.json, the jobs of the queue in their order."""

from pathlib import Path

from jukejax.common import files
from jukejax.studio.job import DONE, Job

FILE = "jobs.json"
MAX_JOBS = 500  # finished ones are forgotten beyond it


def read_jobs(root: Path) -> list[Job]:
    """Reads the jobs of earlier servers.

    Raises:
      ValueError: jobs.json is damaged.
    """
    path = root / FILE
    if not path.exists():
        return []
    try:
        return [Job.from_json(values) for values in files.read_json(path)["jobs"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def write_jobs(root: Path, jobs: list[Job]) -> list[Job]:
    """Writes the jobs, without the first finished ones beyond `MAX_JOBS`; returns the written."""
    finished = [job for job in jobs if job.state == DONE]
    forgotten = {job.identifier for job in finished[: max(len(jobs) - MAX_JOBS, 0)]}
    jobs = [job for job in jobs if job.identifier not in forgotten]
    files.write_json(root / FILE, {"jobs": [job.to_json() for job in jobs]})
    return jobs
