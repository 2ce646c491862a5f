"""The tab for new takes: from nothing, from a recording, or a recording as the model plays it."""

from pathlib import Path
from typing import Any

import gradio as gr

from jukejax.data.decoding import EXTENSIONS
from jukejax.data.grid import KEYS
from jukejax.studio.composing import MAX_SECTIONS_TEXT, MAX_TAKES, Composition, Settings
from jukejax.studio.page_forms import LEVEL_TEMPERATURES, report_errors, say
from jukejax.studio.recordings import add_recording
from jukejax.studio.studio import Studio
from jukejax.weights.shipped import HOUSE

NEW, CONTINUE, PLAY = "new", "continue a recording", "play a recording as the model would"
SKETCH, ALL_LEVELS = "sketch: the coarsest level", "all levels"
UPLOADS = ".uploads"  # folder of Gradio's files below that of the projects
Values = dict[Any, Any]  # {component: value}


class ComposeTab:
    """The fields of a new take.

    Attributes:
      button: queues it.
    """

    def __init__(self, studio: Studio, project: gr.Dropdown):
        self._studio, self._project = studio, project
        self._add_fields()

    def _add_fields(self) -> None:
        self.source = gr.Radio([NEW, CONTINUE, PLAY], value=NEW, label="Start")
        with gr.Group(visible=False) as self.prompt_group:
            self.upload = gr.File(
                label="Recording to add (sound files)",
                file_types=sorted(EXTENSIONS),
                type="filepath",
                elem_id="upload",
            )
            self.recording = gr.Dropdown([], label="Recording", elem_id="recording")
            self.prompt_seconds = gr.Number(5, label="Seconds of it to keep", minimum=0.5)
        with gr.Row():
            self.model = gr.Dropdown([HOUSE], value=HOUSE, label="Model", elem_id="model")
            self.artist = gr.Dropdown([("any", "")], value="", label="Artist")
            self.genre = gr.Dropdown([("any", "")], value="", label="Genre")
        with gr.Row():
            self.bpm = gr.Number(122, label="Tempo in BPM", elem_id="bpm")
            keys = [("any", ""), *((key, key) for key in KEYS if key)]
            self.key = gr.Dropdown(keys, value="A minor", label="Key")
            self.bars = gr.Number(8, label="Bars", elem_id="bars")
            self.seconds = gr.Number(0, label="or seconds, 0: bars")
        self.sections = gr.Textbox(
            "",
            label="Sections and their bars, such as intro:4,drop:8; empty: drawn by the seed",
            max_length=MAX_SECTIONS_TEXT,
            elem_id="sections",
        )
        with gr.Row():
            self.levels = gr.Radio([SKETCH, ALL_LEVELS], value=SKETCH, label="Detail")
            self.is_loop = gr.Checkbox(False, label="Loop: the end leads to the beginning")
        with gr.Row():
            self.count = gr.Number(
                1, label="Takes", precision=0, minimum=1, maximum=MAX_TAKES, elem_id="count"
            )
            self.seed = gr.Number(0, label="First seed", precision=0, elem_id="seed")
            self.name = gr.Textbox("", label="Name", max_length=80, elem_id="new-name")
        with gr.Accordion("Guidance and temperature", open=False), gr.Row():
            self.guidance = gr.Number(2, label="Guidance by artist, genre and key; 1: as trained")
            self.temperatures = [
                gr.Number(value, label=f"Temperature of level {level}")
                for level, value in LEVEL_TEMPERATURES.items()
            ]
        self.button = gr.Button("Compose", variant="primary", elem_id="compose")

    def connect(self) -> None:
        """Connects the fields with each other."""
        self.source.change(self.show_source, self.source, self.prompt_group, show_progress="hidden")
        self.model.change(
            self.list_labels,
            [self._project, self.model],
            [self.artist, self.genre],
            show_progress="hidden",
        )
        self.upload.upload(
            self.add_recording, [self._project, self.upload], [self.upload, self.recording]
        )

    def list_inputs(self) -> set[Any]:
        """Returns the fields that `queue_takes` needs."""
        fields: list[Any] = [self._project, self.source, self.recording, self.prompt_seconds]
        fields += [self.model, self.artist, self.genre, self.bpm, self.key, self.bars]
        fields += [self.sections, self.seconds, self.levels, self.is_loop, self.count]
        fields += [self.seed, self.name]
        return {*fields, self.guidance, *self.temperatures}

    def show_source(self, source: str) -> Any:
        """Shows the fields of a recording where one is needed."""
        return gr.update(visible=source != NEW)

    @report_errors
    def list_labels(self, slug: str, model: str) -> tuple[Any, Any]:
        """Returns the artists and genres of a model."""
        if not slug:  # the page is still being loaded
            return gr.skip(), gr.skip()
        info = self._studio.find_model(self._studio.open_project(slug), model)
        lists = (info.artists, info.genres)
        artists, genres = (
            gr.update(choices=[("any", ""), *((name, name) for name in names)], value="")
            for names in lists
        )
        return artists, genres

    @report_errors
    def add_recording(self, slug: str, sent: str | None) -> tuple[Any, Any]:
        """Adds an uploaded file to the recordings of the project."""
        if not sent:
            raise ValueError("no file was sent")
        path = Path(sent)
        uploads = (self._studio.root / UPLOADS).resolve()
        if not path.resolve().is_relative_to(uploads):
            raise ValueError("this file was not uploaded")
        project = self._studio.open_project(slug)
        try:
            identifier = add_recording(project, path)
        finally:
            path.unlink(missing_ok=True)
        say(f"{project.read().entries[identifier].name} was added")
        return None, gr.update(choices=self.list_recordings(slug), value=identifier)

    def list_recordings(self, slug: str) -> list[tuple[str, str]]:
        """Returns (name, identifier) of the recordings of a project."""
        entries = self._studio.open_project(slug).read().entries
        return [
            (f"{entry.name}, {entry.seconds:.0f} s", identifier)
            for identifier, entry in entries.items()
            if identifier.startswith("u")
        ]

    @report_errors
    def queue_takes(self, values: Values) -> list[str]:
        """Queues what the fields describe; returns the identifiers of the takes."""
        project = self._studio.open_project(values[self._project])
        model = self._studio.find_model(project, values[self.model])
        settings = self.read_settings(values)
        if values[self.source] == PLAY:
            recording = values[self.recording]
            return [self._studio.play_recording(project, model, settings, recording)]
        seconds = values[self.seconds]
        composition = Composition(
            artist=values[self.artist] or "",
            genre=values[self.genre] or "",
            bpm=values[self.bpm] or None,
            key=values[self.key] or "",
            sections=values[self.sections] or "",
            bars=None if seconds else values[self.bars] or None,
            seconds=seconds or None,
            is_loop=bool(values[self.is_loop]),
        )
        is_continued = values[self.source] == CONTINUE
        if is_continued and not values[self.recording]:
            raise ValueError("choose a recording, or upload one")
        return self._studio.compose(
            project,
            model,
            composition,
            settings,
            count=values[self.count],
            name=values[self.name],
            recording=values[self.recording] if is_continued else None,
            prompt_seconds=values[self.prompt_seconds] if is_continued else 0.0,
        )

    def read_settings(self, values: Values) -> Settings:
        """Reads the settings of sampling."""
        temperatures = {
            level: values[field]
            for level, field in zip(LEVEL_TEMPERATURES, self.temperatures, strict=True)
        }
        return Settings(
            seed=values[self.seed],
            guidance=values[self.guidance],
            temperature=temperatures,
            is_sketch=values[self.levels] != ALL_LEVELS,
        )
