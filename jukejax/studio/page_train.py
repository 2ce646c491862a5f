"""The tab for corpora and for models that are tuned on them."""

from pathlib import Path
from typing import Any

import gradio as gr
import pandas

from jukejax.data.decoding import EXTENSIONS
from jukejax.pages.page import tag
from jukejax.studio import previews, tuning, views
from jukejax.studio.page_compose import UPLOADS
from jukejax.studio.page_forms import choose, report_errors, say
from jukejax.studio.studio import Studio
from jukejax.weights.shipped import HOUSE

COLUMNS = ("step", "bits per code", "split")


class TrainTab:
    """The corpora and the tuned models of a project."""

    def __init__(self, studio: Studio, project: gr.Dropdown):
        self._studio, self._project = studio, project
        with gr.Row():
            with gr.Column(min_width=300):
                self.records = gr.File(
                    label="Records (sound files)",
                    file_count="multiple",
                    file_types=sorted(EXTENSIONS),
                    type="filepath",
                    elem_id="records",
                )
                self.corpus_name = gr.Textbox(
                    "My records", label="Name of the corpus", max_length=80
                )
                self.prepare = gr.Button("Prepare these records")
                with gr.Accordion("Or the embedded synthetic corpus", open=False):
                    self.tracks = gr.Number(8, label="Tracks", precision=0, elem_id="house-tracks")
                    self.seconds = gr.Number(20, label="Seconds of each", elem_id="house-seconds")
                    self.prepare_house = gr.Button("Prepare it", elem_id="prepare-house")
            with gr.Column(min_width=300):
                self.corpus = gr.Dropdown([], label="Corpus", elem_id="corpus")
                self.model_name = gr.Textbox("My model", label="Name of the model", max_length=80)
                self.steps = gr.Number(25, label="Steps", precision=0, elem_id="steps")
                self.tune = gr.Button("Tune the shipped model", variant="primary", elem_id="tune")
                self.model = gr.Dropdown([], label="Model to look at")
                self.curves = gr.LinePlot(
                    x=COLUMNS[0],
                    y=COLUMNS[1],
                    color=COLUMNS[2],
                    height=240,
                    label="Training",
                    elem_id="curves",
                )
                self.preview = gr.HTML("", elem_id="preview")

    def connect(self) -> None:
        """Connects the buttons."""
        lists = [self.corpus, self.model]
        self.prepare.click(
            self.prepare_records,
            [self._project, self.records, self.corpus_name],
            [self.records, *lists],
        )
        house = [self._project, self.tracks, self.seconds]
        self.prepare_house.click(self.prepare_synthetic, house, lists)
        tune = [self._project, self.corpus, self.model_name, self.steps]
        self.tune.click(self.tune_model, tune, lists)
        self.model.change(
            self.show_model,
            [self._project, self.model],
            [self.curves, self.preview],
            show_progress="hidden",
        )

    def list_choices(self, slug: str, corpus: object, model: object) -> tuple[Any, Any]:
        """Returns updates of the corpora and models to choose from."""
        entries = self._studio.open_project(slug).read().entries
        lists = {
            kind: [(entry.name, key) for key, entry in entries.items() if key.startswith(kind)]
            for kind in "cm"
        }
        return (
            gr.update(choices=lists["c"], value=choose(lists["c"], corpus)),
            gr.update(choices=lists["m"], value=choose(lists["m"], model)),
        )

    @report_errors
    def prepare_records(
        self, slug: str, sent: list[str] | None, name: object
    ) -> tuple[Any, Any, Any]:
        """Makes a corpus of uploaded records."""
        paths = [Path(path) for path in sent or []]
        uploads = (self._studio.root / UPLOADS).resolve()
        if not all(path.resolve().is_relative_to(uploads) for path in paths):
            raise ValueError("these files were not uploaded")
        project = self._studio.open_project(slug)
        model = self._studio.find_model(project, HOUSE)
        corpus = tuning.prepare_recordings(project, self._studio.queue, paths, name, model)
        for path in paths:
            path.unlink(missing_ok=True)
        say("the preparation is in the queue")
        return (None, *self.list_choices(slug, corpus, None))

    @report_errors
    def prepare_synthetic(self, slug: str, tracks: object, seconds: object) -> tuple[Any, Any]:
        """Makes a corpus of the embedded generator."""
        project = self._studio.open_project(slug)
        model = self._studio.find_model(project, HOUSE)
        corpus = tuning.prepare_house(project, self._studio.queue, tracks, seconds, model)
        say("the preparation is in the queue")
        return self.list_choices(slug, corpus, None)

    @report_errors
    def tune_model(self, slug: str, corpus: object, name: object, steps: object) -> tuple[Any, Any]:
        """Tunes the shipped model on a corpus."""
        project = self._studio.open_project(slug)
        model = self._studio.find_model(project, HOUSE)
        tuned = tuning.tune_model(project, self._studio.queue, corpus, name, steps, model)
        say("the tuning is in the queue")
        return self.list_choices(slug, corpus, tuned)

    @report_errors
    def show_model(self, slug: str, model: object) -> tuple[pandas.DataFrame, str]:
        """Returns the curves of a tuning so far, and its newest preview."""
        return self.draw_curves(slug, model), self.describe_preview(slug, model)

    def describe_preview(self, slug: str, model: object) -> str:
        """Returns a player of the newest preview of a model as markup; "" without a model."""
        if not model or not slug:
            return ""
        project = self._studio.open_project(slug)
        identifier, _ = project.read().find_entry(model, "m")
        preview = previews.read_preview(project.model_folder(identifier))
        if preview is None:
            return str(tag("p", "No preview yet.", class_="st-note"))
        caption = f"What the model played after step {preview.step}, the coarsest level alone"
        address = views.preview_address(slug, identifier, preview.step)
        player = tag("audio", controls=True, preload="none", src=address, aria_label=caption)
        return str(tag("div", tag("p", caption, class_="st-note"), player))

    def draw_curves(self, slug: str, model: object) -> pandas.DataFrame:
        """Returns the curves of a tuning so far."""
        rows: list[tuple[float, float, str]] = []
        if model and slug:
            project = self._studio.open_project(slug)
            identifier, _ = project.read().find_entry(model, "m")
            for split, (steps, values) in tuning.read_curves(project, identifier).items():
                rows += [(step, bits, split) for step, bits in zip(steps, values, strict=True)]
        return pandas.DataFrame(rows, columns=list(COLUMNS))
