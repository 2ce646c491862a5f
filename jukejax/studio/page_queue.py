"""The tab of the queue: jobs with their progress; stop, resume, first in line."""

from typing import Any

import gradio as gr

from jukejax.pages.page import Html, tag
from jukejax.studio.job import DONE, FAILED, RUNNING, STOPPED, STOPPING, WAITING, Job
from jukejax.studio.page_forms import choose, report_errors
from jukejax.studio.studio import Studio

SHOWN = 30  # jobs of the list, the last ones
_LOG_BYTES = 4000


class QueueTab:
    """The jobs of all projects."""

    def __init__(self, studio: Studio):
        self._studio = studio
        self.jobs = gr.HTML("", elem_id="jobs")
        self.job = gr.Dropdown([], label="Job", elem_id="job")
        with gr.Row():
            self.stop = gr.Button("Stop", elem_id="stop")
            self.resume = gr.Button("Resume", elem_id="resume")
            self.first = gr.Button("First in line", elem_id="first")
        with gr.Accordion("Output of the job", open=False):
            self.log = gr.Textbox("", lines=8, max_lines=16, show_label=False, interactive=False)
            self.show = gr.Button("Show", size="sm")

    def connect(self) -> None:
        """Connects the buttons."""
        for button, action in (
            (self.stop, self.stop_job),
            (self.resume, self.resume_job),
            (self.first, self.move_job),
        ):
            button.click(action, self.job, [self.jobs, self.job], show_progress="hidden")
        self.show.click(self.read_log, self.job, self.log, show_progress="hidden")

    def list_jobs(self, job: object) -> tuple[str, Any]:
        """Returns the list as markup, and an update of the choices."""
        jobs = self._studio.queue.list_jobs()[-SHOWN:]
        choices = [
            (f"{each.identifier}: {each.title} ({each.state})", each.identifier)
            for each in jobs
            if each.state != DONE
        ]
        value = job if job in [identifier for _, identifier in choices] else None
        running = [each.identifier for each in jobs if each.state in (RUNNING, STOPPING)]
        if value is None:
            value = running[0] if running else choose(choices, None)
        return self.describe_jobs(jobs), gr.update(choices=choices, value=value)

    def describe_jobs(self, jobs: list[Job]) -> str:
        """Returns the jobs as markup, those that are active first."""
        order = (RUNNING, STOPPING, WAITING, FAILED, STOPPED, DONE)
        rows = sorted(jobs, key=lambda job: order.index(job.state) if job.state in order else 9)
        fault = self._studio.queue.fault
        parts = [tag("p", fault, role="alert", class_="st-copied")] if fault else []
        if not rows:
            parts.append(tag("p", "Nothing waits.", class_="st-note"))
        return str(
            tag("div", parts, tag("ul", [self._describe(job) for job in rows], class_="st-jobs"))
        )

    def _describe(self, job: Job) -> Html:
        line = tag("span", job.state, class_="st-state"), f" {job.identifier}: {job.title}"
        children: list[object] = [tag("div", line)]
        if job.state in (RUNNING, STOPPING):
            progress = self._studio.queue.read_progress(job)
            share = None if progress.share is None else f"{progress.share:.4f}"
            children.append(tag("progress", value=share, max="1", aria_label=job.title))
            children.append(tag("div", progress.text, class_="st-note"))
        elif job.message:
            children.append(tag("div", job.message, class_="st-note"))
        return tag("li", children)

    @report_errors
    def stop_job(self, job: object) -> tuple[str, Any]:
        """Stops a job."""
        self._studio.queue.stop(job)
        return self.list_jobs(job)

    @report_errors
    def resume_job(self, job: object) -> tuple[str, Any]:
        """Makes a job wait again."""
        self._studio.resume_job(job)
        return self.list_jobs(job)

    @report_errors
    def move_job(self, job: object) -> tuple[str, Any]:
        """Makes a job the next one."""
        self._studio.queue.move_up(job)
        return self.list_jobs(job)

    @report_errors
    def read_log(self, job: object) -> str:
        """Returns the end of the output of a job."""
        path = self._studio.queue.log_path(self._studio.queue.find_job(job))
        if not path.is_file():
            return "nothing yet"
        return path.read_bytes()[-_LOG_BYTES:].decode("utf-8", "replace")
