"""What the tabs of the page share: messages, form fields, and HTML of text that users wrote.

Gradio shows messages and HTML components as markup, so that every text is escaped here.
"""

import functools
import html
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

from jukejax.common import files
from jukejax.studio.studio import Studio

F = TypeVar("F", bound=Callable[..., Any])
LEVEL_TEMPERATURES = {2: 1.05, 1: 0.9, 0: 0.9}  # of the shipped model


def report_errors(handler: F) -> F:
    """Shows the message of a refused action; of a fault of ours one line, the rest in the log."""

    @functools.wraps(handler)
    def report(*arguments: Any, **keywords: Any) -> Any:
        try:
            return handler(*arguments, **keywords)
        except (ValueError, OSError) as error:
            raise gr.Error(html.escape(format_error(error)), print_exception=False) from None
        except gr.Error:
            raise
        except Exception:
            traceback.print_exc(file=sys.stderr)
            message = "this action failed; the output of jukejax serve says why"
            raise gr.Error(message, print_exception=False) from None

    return report  # type: ignore[return-value]


def format_error(error: Exception) -> str:
    """Formats the message of a refused action, without the path of a file of ours."""
    if files.is_disk_full(error):
        return "the disk is full: nothing was changed; make room and try again"
    if isinstance(error, OSError):
        return f"the file cannot be used: {error.strerror or 'unknown reason'}"
    return " ".join(str(error).split())[:500]


def say(text: str) -> None:
    """Shows a message that something was done."""
    gr.Info(html.escape(text), duration=4)


def list_take_choices(studio: Studio, slug: str) -> list[tuple[str, str]]:
    """Returns (label, identifier) of the takes of a project, as a tree."""
    from jukejax.studio.judging import read_verdict
    from jukejax.studio.state import list_tree

    project = studio.open_project(slug)
    choices = []
    for depth, identifier, take in list_tree(project.read()):
        sound = studio.read_files(project, identifier)
        verdict = read_verdict(project.judged_folder(identifier))
        job = studio.queue.find_active(slug, identifier)
        notes = [take.mode]
        notes.append(f"level {min(sound.levels)}" if sound.levels else "no level yet")
        if verdict is not None:
            notes.append(verdict.word.upper() if verdict.word == "copied" else verdict.word)
        if job is not None:
            notes.append(job.state)
        branch = "    " * (depth - 1) + "└ " if depth else ""
        star = "★ " if take.is_starred else ""
        choices.append((f"{branch}{star}{take.name}  ({', '.join(notes)})", identifier))
    return choices


def choose(choices: list[tuple[str, str]], value: object) -> str | None:
    """Returns a value if it is among the choices, else the last of them; None without any."""
    known = [identifier for _, identifier in choices]
    if value in known:
        return str(value)
    return known[-1] if known else None


def keep_selection(update: dict[str, Any], sent: object) -> dict[str, Any]:
    """Returns an update of a field that does not set the value which the page has sent.

    The user may have selected another one since: a late answer would undo that.
    """
    return {name: value for name, value in update.items() if name != "value" or value != sent}


def accept_removed_choices() -> None:
    """Makes Gradio hand over every text of a list to our actions, which check it.

    NOTE: Gradio 6.31 answers 500, with a traceback, to a request whose value was among the choices
    when it was sent and is not any more, such as the refresh of a page that deletes a take.
    """
    fields: tuple[Any, ...] = (gr.Radio, gr.Dropdown)
    for field in fields:
        field.preprocess = _pass_text


def _pass_text(field: gr.Radio | gr.Dropdown, payload: object) -> str | None:
    del field
    return payload if isinstance(payload, str) else None
