"""The queue of the studio: one command at a time; it survives the server.

ROOT/jobs.json          the jobs in their order
ROOT/jobs/j0001.log     output of a command
ROOT/jobs/j0001.json    its progress, while it runs

A change is written before it takes effect: where the disk is full, the change is refused, and the
queue is as before. After a kill the running job is waiting again, at its place in the order, and
its command resumes what it has saved.
"""

import contextlib
import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from jukejax.studio import child, prepared
from jukejax.studio.chains import end_job, find_next, move_chain_up, resume_chain, stop_chain
from jukejax.studio.job import (
    ACTIVE,
    FAILED,
    RUNNING,
    STOPPED,
    STOPPING,
    WAITING,
    Job,
    JobProgress,
    judge_exit,
    read_progress,
)
from jukejax.studio.job_file import read_jobs, write_jobs

MAX_WAITING = 100
_POLL_SECONDS = 0.2

Step = tuple[str, Sequence[str], str]  # verb, arguments, title


class JobQueue:
    """Runs the jobs of a folder in a thread of its own; safe for use by several threads.

    Attributes:
      fault: why the queue cannot go on, such as a full disk; "" if it can.
    """

    def __init__(self, root: Path, on_end: Callable[[Job], None] | None = None):
        """Reads the jobs of earlier servers.

        Args:
          on_end: called in the thread of the queue when a job has ended.

        Raises:
          ValueError: jobs.json is damaged.
        """
        self._root, self._on_end = root, on_end
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._process: subprocess.Popen[bytes] | None = None
        self._prepares = False
        self._prepared: prepared.PreparedProcess | None = None
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._jobs = read_jobs(root)
        self.fault = ""

    # -- What the page asks for ------------------------------------------------------------------

    def list_jobs(self) -> list[Job]:
        """Returns all jobs in their order."""
        with self._lock:
            return list(self._jobs)

    def find_job(self, identifier: object) -> Job:
        """Returns a job.

        Raises:
          ValueError: there is none.
        """
        for job in self.list_jobs():
            if job.identifier == identifier:
                return job
        raise ValueError(f"there is no job {str(identifier)[:40]!r}")

    def find_active(self, project: str, subject: str) -> Job | None:
        """Returns the unfinished job of a take, corpus or model; None if there is none."""
        for job in self.list_jobs():
            if (job.project, job.subject) == (project, subject) and job.state in ACTIVE:
                return job
        return None

    def read_progress(self, job: Job) -> JobProgress:
        """Returns the progress of a running job."""
        return read_progress(self._progress_path(job))

    def log_path(self, job: Job) -> Path:
        """Returns the path of the output of a job."""
        return self._root / "jobs" / f"{job.identifier}.log"

    # -- Changes -----------------------------------------------------------------------------------

    def add_chain(self, steps: Sequence[Step], *, project: str, subject: str) -> list[Job]:
        """Adds jobs, each of which waits for the one before it.

        Raises:
          ValueError: too many jobs are waiting.
          OSError: they cannot be written; none is added.
        """
        with self._changed:
            active = sum(job.state in ACTIVE for job in self._jobs)
            if active + len(steps) > MAX_WAITING:
                raise ValueError(f"{active} jobs are waiting; the limit is {MAX_WAITING}")
            number = max((int(job.identifier[1:]) for job in self._jobs), default=0)
            group = f"j{number + 1:04d}"
            added = [
                Job(
                    identifier=f"j{number + 1 + index:04d}",
                    verb=verb,
                    arguments=tuple(arguments),
                    title=title,
                    project=project,
                    subject=subject,
                    group=group,
                )
                for index, (verb, arguments, title) in enumerate(steps)
            ]
            self._replace([*self._jobs, *added])
            return added

    def stop(self, identifier: object) -> None:
        """Stops a running job after it has saved its state, or takes a waiting one out.

        The later jobs of its chain are stopped with it.
        """
        with self._changed:
            stopped = self.find_job(identifier)
            if stopped.state not in ACTIVE:
                raise ValueError(f"job {stopped.identifier} does not run: it is {stopped.state}")
            self._replace(stop_chain(self._jobs, stopped))
            if self._process is not None and stopped.state == RUNNING:
                self._process.terminate()

    def resume(self, identifier: object) -> None:
        """Makes a stopped or failed job wait again, with the unfinished ones of its chain."""
        with self._changed:
            resumed = self.find_job(identifier)
            if resumed.state not in (STOPPED, FAILED):
                raise ValueError(f"job {resumed.identifier} cannot resume: it is {resumed.state}")
            self._replace(resume_chain(self._jobs, resumed))

    def move_up(self, identifier: object) -> None:
        """Moves a waiting job, with its chain, to the front of those that wait."""
        with self._changed:
            moved = self.find_job(identifier)
            if moved.state != WAITING:
                raise ValueError(f"job {moved.identifier} does not wait: it is {moved.state}")
            self._replace(move_chain_up(self._jobs, moved))

    def stop_subject(self, project: str, subject: str) -> None:
        """Stops every unfinished job of a take, corpus or model."""
        while job := self.find_active(project, subject):
            if job.state == STOPPING:
                return
            self.stop(job.identifier)

    # -- The thread --------------------------------------------------------------------------------

    def start(self, *, prepares: bool = False) -> None:
        """Starts to run jobs.

        Args:
          prepares: keeps a process ready for the next take while no job runs (`prepared`).
        """
        self._prepares = prepares
        self._thread = threading.Thread(target=self._run, name="queue", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the running command, whose job continues with the next server."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            if self._process is not None:
                self._process.terminate()
        if self._thread is not None:
            self._thread.join(child.GRACE_SECONDS + 5)
        self._end_prepared()

    def _run(self) -> None:
        while not self._is_closing:
            try:
                self._recover()
                job = self._take_next()
                if job is not None:
                    self._run_job(job)
                self.fault = ""
            except Exception as error:
                self.fault = f"the queue waits: {error}"
                print(self.fault, file=sys.stderr)
                with self._changed:
                    self._changed.wait(2)

    def _recover(self) -> None:
        """Ends the command of a killed server, and makes its job wait again."""
        for job in self.list_jobs():
            if job.state in (RUNNING, STOPPING):
                commands = [child.format_command(job.verb, job.arguments)]
                commands.append(prepared.format_command(self._root))
                child.end_orphan(job.pid, commands)
                state = STOPPED if job.state == STOPPING else WAITING
                self._update(job, state=state, pid=0)

    def _take_next(self) -> Job | None:
        with self._changed:
            job = find_next(self._jobs)
            if job is None and not self._is_closing:
                if self._prepares and self._prepared is None:
                    self._prepared = prepared.PreparedProcess(self._root)
                self._changed.wait(1)
            return job

    def _run_job(self, job: Job) -> None:
        (self._root / "jobs").mkdir(exist_ok=True)
        self._progress_path(job).unlink(missing_ok=True)
        with self._changed:
            if self.find_job(job.identifier).state != WAITING or self._is_closing:
                return
            process = self._start_process(job)
            try:
                self._update(job, state=RUNNING, message="", pid=process.pid)
            except BaseException:
                process.kill()
                process.wait()
                raise
            self._process = process
        code = self._wait_for_process(process)
        with self._lock:
            self._process = None
        self._finish(job, code)

    def _start_process(self, job: Job) -> subprocess.Popen[bytes]:
        """Starts the command of a job, in the prepared process if it is for such jobs."""
        log, progress = self.log_path(job), self._progress_path(job)
        ready, self._prepared = self._prepared, None
        if ready is not None and job.verb == prepared.VERB and ready.is_alive():
            with contextlib.suppress(BrokenPipeError):
                return ready.start_job(job.arguments, log=log, progress=progress)
        if ready is not None:
            ready.end()  # other commands need the memory
        return child.start_child(job.verb, job.arguments, log=log, progress=progress)

    def _end_prepared(self) -> None:
        if self._prepared is not None:
            self._prepared.end()
            self._prepared = None

    @staticmethod
    def _wait_for_process(process: subprocess.Popen[bytes]) -> int:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_POLL_SECONDS)

    def _finish(self, job: Job, code: int) -> None:
        with self._changed:
            current = self.find_job(job.identifier)
            if self._is_closing and code != 0:
                return  # it stays "running" in jobs.json, from where the next server continues
            state, message = judge_exit(
                job.verb, code, self.log_path(job), is_stopping=current.state == STOPPING
            )
            self._replace(end_job(self._jobs, job, state, message))
        if self._on_end is not None:
            self._on_end(self.find_job(job.identifier))

    # -- The files ---------------------------------------------------------------------------------

    def _progress_path(self, job: Job) -> Path:
        return self._root / "jobs" / f"{job.identifier}.json"

    def _update(self, job: Job, **values: object) -> None:
        with self._changed:
            self._replace(
                [
                    dataclasses.replace(other, **values)  # type: ignore[arg-type]
                    if other.identifier == job.identifier
                    else other
                    for other in self._jobs
                ]
            )

    def _replace(self, jobs: list[Job]) -> None:
        """Writes the jobs, and then makes them those of the queue."""
        self._jobs = write_jobs(self._root, jobs)
        self._changed.notify_all()
