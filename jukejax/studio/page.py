"""The page of the studio: its tabs, and what refreshes them.

Gradio calls the methods of the tabs; everything they do is in `Studio`. A timer looks for changes
every second: those of the queue, of another tab of the browser, or of another user. It also brings
what a tab shows that was not open before, as Gradio sends no event of a field in a closed tab.
"""

from typing import Any

import gradio as gr

from jukejax.studio.page_compose import ComposeTab
from jukejax.studio.page_forms import (
    accept_removed_choices,
    keep_selection,
    list_take_choices,
    report_errors,
    say,
)
from jukejax.studio.page_queue import QueueTab
from jukejax.studio.page_takes import TakesTab
from jukejax.studio.page_train import TrainTab
from jukejax.studio.project import FILE
from jukejax.studio.studio import Studio

TITLE = "jukejax studio"
REFRESH_SECONDS = 1.0


class Page:
    """The page.

    Attributes:
      blocks: Gradio's form of it.
    """

    def __init__(self, studio: Studio):
        self._studio = studio
        accept_removed_choices()
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400)) as blocks:
            self.blocks = blocks
            gr.Markdown(f"# {TITLE}")
            with gr.Row():
                self._project = gr.Dropdown([], label="Project", elem_id="project", scale=2)
                self._name = gr.Textbox("", label="New project", max_length=80, scale=2)
                self._create = gr.Button("Create", scale=1, elem_id="create")
            with gr.Tabs() as self._tabs:
                with gr.Tab("Compose", id="compose"):
                    self._compose = ComposeTab(studio, self._project)
                with gr.Tab("Takes", id="takes"):
                    self._takes = TakesTab(studio, self._project)
                with gr.Tab("Queue", id="queue"):
                    self._queue = QueueTab(studio)
                with gr.Tab("Train", id="train"):
                    self._train = TrainTab(studio, self._project)
            self._seen = gr.State({})
            self._timer = gr.Timer(REFRESH_SECONDS)
            self._connect()

    def _connect(self) -> None:
        for tab in (self._compose, self._takes, self._queue, self._train):
            tab.connect()
        shown = self._list_project_fields()
        self.blocks.load(self.open_page, [], [self._project, *shown], show_progress="hidden")
        self._project.change(self.show_project, self._project, shown, show_progress="hidden")
        self._create.click(self.create_project, self._name, [self._project, self._name])
        self._compose.button.click(
            self.compose,
            self._compose.list_inputs(),
            [self._tabs, self._takes.take, self._takes.compare],
        )
        inputs = [self._seen, self._project, self._takes.take, self._takes.compare, self._queue.job]
        inputs += [self._takes.corpus, self._train.corpus, self._train.model]
        outputs = [self._seen, self._takes.take, self._takes.compare, self._takes.player]
        outputs += [self._takes.judgement]
        outputs += [self._takes.corpus, self._queue.jobs, self._queue.job, self._compose.model]
        outputs += [self._train.corpus, self._train.model, self._train.curves, self._train.preview]
        self._timer.tick(self.refresh, inputs, outputs, show_progress="hidden", queue=False)

    def _list_project_fields(self) -> list[Any]:
        """Returns the fields that depend on the project."""
        takes, train = self._takes, self._train
        fields = [takes.take, takes.compare, takes.corpus, self._compose.recording]
        return [*fields, self._compose.model, train.corpus, train.model]

    @report_errors
    def open_page(self) -> tuple[Any, ...]:
        """Returns the projects, with the one that was changed last selected."""
        choices = [(name, slug) for slug, name in self._studio.list_projects()]
        paths = {slug: self._studio.root / slug / FILE for _, slug in choices}
        latest = max(paths, key=lambda slug: paths[slug].stat().st_mtime)
        return (gr.update(choices=choices, value=latest), *self.show_project(latest))

    @report_errors
    def show_project(self, slug: str) -> tuple[Any, ...]:
        """Returns updates of everything that depends on the project."""
        if not slug:  # the page is still being loaded
            return tuple(gr.skip() for _ in self._list_project_fields())
        recordings = self._compose.list_recordings(slug)
        return (
            *self._takes.list_takes(slug, None),
            self._list_corpora(slug, None),
            gr.update(choices=recordings, value=recordings[-1][1] if recordings else None),
            self._list_models(slug),
            *self._train.list_choices(slug, None, None),
        )

    @report_errors
    def create_project(self, name: object) -> tuple[Any, str]:
        """Creates a project and opens it."""
        slug = self._studio.create_project(name)
        choices = [(title, each) for each, title in self._studio.list_projects()]
        say("the project was created")
        return gr.update(choices=choices, value=slug), ""

    @report_errors
    def compose(self, values: dict[Any, Any]) -> tuple[Any, Any, Any]:
        """Queues new takes and shows the first of them."""
        takes = self._compose.queue_takes(values)
        slug = values[self._project]
        return (gr.update(selected="takes"), *self._takes.list_takes(slug, takes[0]))

    def _list_models(self, slug: str) -> Any:
        project = self._studio.open_project(slug)
        models = self._studio.list_models(project)
        return gr.update(choices=[(model.name, key) for key, model in models.items()])

    def _list_corpora(self, slug: str, value: object) -> Any:
        corpora = self._studio.list_corpora(self._studio.open_project(slug))
        choices = [("no audit", ""), *((name, key) for key, (name, _) in corpora.items())]
        return gr.update(choices=choices, value=value if value in corpora else "")

    @report_errors
    def refresh(
        self,
        seen: dict[str, Any],
        slug: str | None,
        take: object,
        compare: object,
        job: object,
        corpus: object,
        tuned_on: object,
        model: object,
    ) -> tuple[Any, ...]:
        """Returns updates of what has changed since the last refresh of this page."""
        if not slug:
            return (seen, *([gr.skip()] * 12))
        project = self._studio.open_project(slug)
        jobs, job_update = self._queue.list_jobs(job)
        entries = project.read().entries
        now = {
            "slug": slug,
            "takes": list_take_choices(self._studio, slug),
            "player": self._takes.describe_player(slug, take, compare),
            "judgement": self._takes.describe_judgement(slug, take),
            "jobs": jobs,
            "choices": job_update["choices"],
            "corpora": list(self._studio.list_corpora(project)),
            "models": list(self._studio.list_models(project)),
            "entries": [(key, entry.name) for key, entry in entries.items()],
            "curve": len(self._train.draw_curves(slug, model)),
            "preview": self._train.describe_preview(slug, model),
        }
        changed = {key for key, value in now.items() if seen.get(key) != value}
        takes: tuple[Any, Any] = (gr.skip(), gr.skip())
        if "takes" in changed:
            selected, others = self._takes.list_takes(slug, take)
            takes = keep_selection(selected, take), others
        train: tuple[Any, Any] = (gr.skip(), gr.skip())
        if "entries" in changed:
            corpora, models = self._train.list_choices(slug, tuned_on, model)
            train = keep_selection(corpora, tuned_on), keep_selection(models, model)
        searched = gr.skip()
        if "corpora" in changed:
            searched = keep_selection(self._list_corpora(slug, corpus), corpus)
        return (
            now,
            *takes,
            now["player"] if "player" in changed else gr.skip(),
            now["judgement"] if "judgement" in changed else gr.skip(),
            searched,
            jobs if "jobs" in changed else gr.skip(),
            keep_selection(job_update, job) if "choices" in changed else gr.skip(),
            self._list_models(slug) if "models" in changed else gr.skip(),
            *train,
            self._train.draw_curves(slug, model) if "curve" in changed else gr.skip(),
            now["preview"] if "preview" in changed else gr.skip(),
        )
