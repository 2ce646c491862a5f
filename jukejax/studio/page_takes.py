"""The tab of the takes: their tree, the player, what can be made from them, and their judgement."""

import random
from functools import partial
from typing import Any

import gradio as gr

from jukejax.pages.page import Html, facts, tag
from jukejax.studio import composing, views
from jukejax.studio.composing import Settings
from jukejax.studio.judging import read_judgement
from jukejax.studio.page_forms import choose, list_take_choices, report_errors, say
from jukejax.studio.studio import Studio
from jukejax.studio.web import REPORTS

ACTIONS = {  # name of the action: its button
    "re-roll": "Re-roll these bars",
    "trim": "Trim to these bars",
    "continue": "Continue",
    "finer": "Finer levels",
    "loop": "Make a loop",
}


class TakesTab:
    """The takes of a project, and the actions on the selected one."""

    def __init__(self, studio: Studio, project: gr.Dropdown):
        self._studio, self._project = studio, project
        self.choices: dict[str, gr.Button] = {}
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self._add_list()
            with gr.Column(scale=3, min_width=320):
                self._add_player()

    def _add_list(self) -> None:
        self.take = gr.Radio([], label="Takes", elem_id="takes")
        with gr.Row():
            self.star = self._make_button("Star or unstar", "star")
            self.delete = self._make_button("Delete", "delete")
            self.undo = self._make_button("Undo delete", "undo")
        self.name = gr.Textbox("", label="New name of the take", max_length=80, elem_id="name")
        self.rename = gr.Button("Rename", size="sm", elem_id="rename")
        with gr.Accordion("Trash", open=False):
            self.empty = gr.Button("Remove deleted takes for good", size="sm", variant="stop")

    def _add_player(self) -> None:
        self.player = gr.HTML("", elem_id="player")
        self.compare = gr.Dropdown(
            [("nothing", "")], value="", label="Compare with (A and B at the same position)"
        )
        with gr.Row():
            self.first = gr.Number(1, label="From bar", precision=0, elem_id="range-first")
            self.last = gr.Number(1, label="to bar", precision=0, elem_id="range-last")
            self.bars = gr.Number(4, label="New bars", elem_id="new-bars")
            self.seed = gr.Number(-1, label="Seed, -1: random", precision=0)
        with gr.Row():
            for action, title in ACTIONS.items():
                self.choices[action] = self._make_button(title, f"do-{action}")
        with gr.Accordion("Judge", open=True):
            self.judgement = gr.HTML("", elem_id="judgement")
            with gr.Row():
                self.corpus = gr.Dropdown([("no audit", "")], value="", label="Corpus to search")
                self.judge = gr.Button("Judge this take", elem_id="judge")

    @staticmethod
    def _make_button(title: str, name: str) -> gr.Button:
        return gr.Button(title, size="sm", elem_id=name, min_width=120)

    def connect(self) -> None:
        """Connects buttons whose actions change this tab only."""
        selected = [self._project, self.take]
        shown = [self.take, self.compare]
        for button, action in (
            (self.star, self.star_take),
            (self.delete, self.delete_take),
            (self.undo, self.undo_delete),
        ):
            button.click(action, selected, shown, show_progress="hidden")
        self.rename.click(self.rename_take, [*selected, self.name], [*shown, self.name])
        self.empty.click(self.empty_trash, [self._project], [])
        for name, choice in self.choices.items():
            inputs = [*selected, self.first, self.last, self.bars, self.seed]
            choice.click(partial(self.derive_take, name), inputs, shown)
        self.judge.click(self.judge_take, [*selected, self.corpus], [])
        for event in (self.take.change, self.compare.change):
            event(
                self.show_player,
                [*selected, self.compare],
                [self.player, self.judgement],
                show_progress="hidden",
            )

    def list_takes(self, slug: str, take: object) -> tuple[Any, Any]:
        """Returns updates of the list and of the takes to compare with."""
        choices = list_take_choices(self._studio, slug)
        others = [("nothing", ""), *choices]
        return gr.update(choices=choices, value=choose(choices, take)), gr.update(choices=others)

    @report_errors
    def show_player(self, slug: str, take: object, compare: object) -> tuple[Any, Any]:
        """Returns the player of the selected take, and its judgement."""
        if not slug:  # the page is still being loaded; a refresh may have brought both by now
            return gr.skip(), gr.skip()
        return self.describe_player(slug, take, compare), self.describe_judgement(slug, take)

    def describe_player(self, slug: str, take: object, compare: object) -> str:
        """Returns the player of a take, and of another one to compare with, as markup."""
        takes = self._studio.open_project(slug).read().takes
        shown = [
            each
            for each in (take, None if compare == take else compare)
            if isinstance(each, str) and each in takes and not takes[each].is_deleted
        ]
        if take not in shown:
            return str(tag("p", "No take is selected; compose one.", class_="st-note"))
        addresses = [views.media_address(slug, each, views.VIEW_NAME) for each in shown]
        other = addresses[1] if len(addresses) > 1 else None
        return str(tag("studio-player", data_take=addresses[0], data_compare=other))

    def describe_judgement(self, slug: str, selected: object) -> str:
        """Returns what is known of a take as markup; "" if another page has deleted it."""
        project = self._studio.open_project(slug)
        try:
            take, _ = project.read().find_take(selected)
        except ValueError:
            return ""
        sound = self._studio.read_files(project, take)
        judgement = read_judgement(project.judged_folder(take), sound)
        parts: list[Html] = []
        verdict = judgement.verdict
        if verdict is not None:
            words = f"Audit: {verdict.word}"
            if verdict.track:
                words += f"; most alike: {verdict.track}"
            passages = tag("ul", [tag("li", line) for line in verdict.passages])
            style = "st-copied" if verdict.word == "copied" else None
            parts.append(tag("div", tag("p", tag("strong", words)), passages, class_=style))
        if judgement.figures:
            parts.append(Html(facts(judgement.figures).replace('"facts"', '"st-figures"')))
        if judgement.is_outdated:
            parts.append(tag("p", "The take has changed since.", class_="st-note"))
        for there, kind, page, title in (
            (judgement.has_page, "evaluation", "index.html", "All figures"),
            (judgement.has_report, "audit", "report.html", "Report of the audit"),
        ):
            if there:
                address = f"{REPORTS}/{slug}/{take}/{kind}/{page}"
                link = tag("a", title, href=address, target="_blank", rel="noopener")
                parts.append(tag("p", link))
        return (
            str(tag("div", parts)) if parts else str(tag("p", "Not judged yet.", class_="st-note"))
        )

    # -- Actions -----------------------------------------------------------------------------------

    @report_errors
    def star_take(self, slug: str, take: object) -> tuple[Any, Any]:
        """Stars a take, or takes its star away."""
        project = self._studio.open_project(slug)
        identifier, entry = project.read().find_take(take)
        project.update_take(identifier, is_starred=not entry.is_starred)
        return self.list_takes(slug, take)

    @report_errors
    def delete_take(self, slug: str, take: object) -> tuple[Any, Any]:
        """Moves a take to the trash."""
        self._studio.delete_take(self._studio.open_project(slug), take)
        say("deleted; Undo delete brings it back")
        return self.list_takes(slug, None)

    @report_errors
    def undo_delete(self, slug: str, take: object) -> tuple[Any, Any]:
        """Restores the take that was deleted last."""
        del take
        return self.list_takes(slug, self._studio.open_project(slug).undo_delete())

    @report_errors
    def empty_trash(self, slug: str) -> None:
        """Removes the deleted takes."""
        count = self._studio.empty_trash(self._studio.open_project(slug))
        say(f"{count} removed for good")

    @report_errors
    def rename_take(self, slug: str, take: object, name: object) -> tuple[Any, Any, str]:
        """Renames a take."""
        self._studio.open_project(slug).rename_take(take, name)
        return (*self.list_takes(slug, take), "")

    @report_errors
    def derive_take(
        self,
        action: str,
        slug: str,
        take: object,
        first: Any,
        last: Any,
        bars: Any,
        seed: Any,
    ) -> tuple[Any, Any]:
        """Makes a take from the selected one."""
        project = self._studio.open_project(slug)
        if action == "trim":
            return self.list_takes(slug, self._studio.trim_take(project, take, first, last))
        source = self._studio.open_source(project, take)
        settings = Settings(
            seed=random.randrange(2**31) if seed is None or seed < 0 else seed,
            is_sketch=len(source.files.levels) <= 1,
        )
        model, sound = source.model, source.files
        if action == "re-roll":
            arguments = composing.reroll_take(model, settings, sound, first, last, candidates=4)
            mode = f"re-roll {composing.describe_bars(first, last)}"
        elif action == "continue":
            mode = f"continue by {bars} bars"
            arguments = composing.continue_take(model, settings, sound, bars, keep_bars=0)
        elif action == "loop":
            mode = f"loop of {last} bars"
            arguments = composing.loop_take(model, settings, sound, bars=last)
        else:
            mode = "finer levels"
            arguments = composing.upsample_take(model, settings, sound)
        return self.list_takes(slug, self._studio.derive_take(project, source, mode, arguments))

    @report_errors
    def judge_take(self, slug: str, take: object, corpus: object) -> None:
        """Queues the judgement of a take."""
        self._studio.judge_take(self._studio.open_project(slug), take, corpus or None)
        say("the judgement is in the queue")
