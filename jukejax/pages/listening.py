"""The page of a blind listening test: one question at a time, answers as a JSON file.

The page and its script know the sounds by their ids only. Its script and style lie in
assets/listen.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from jukejax.pages import page

MODES = ("ab", "rating")
RATINGS = ("bad", "poor", "fair", "good", "excellent")  # 1 to 5: ITU-T P.800, annex B
QUESTIONS = {"ab": "Which of the two do you prefer?", "rating": "How good is this music?"}
_ASSETS = Path(__file__).resolve().parents[1] / "assets" / "listen"
_KEYS = {
    "ab": "Keys: a and b play or pause, 1 chooses A, 2 chooses B, Enter goes on.",
    "rating": "Keys: a plays or pauses, 1 to 5 rate, Enter goes on.",
}


def render_test(test: str, mode: str, question: str, trials: Sequence[Sequence[str]]) -> str:
    """Returns the HTML file of a test, whose sounds are at sounds/ID.flac.

    Args:
      test: id of the test, which its answers name.
      mode: one of `MODES`.
      question: asked for each trial.
      trials: ids of the sounds of each: two for "ab", one for "rating".
    """
    letters = ("A", "B") if mode == "ab" else ("",)
    choices = ("A", "B") if mode == "ab" else RATINGS
    form = page.tag(
        "form",
        page.grid([_render_player(letter) for letter in letters], columns=2),
        page.tag("p", "This sound cannot be played here.", id="error", hidden=True, role="alert"),
        page.tag(
            "fieldset",
            page.tag("legend", question),
            page.tag(
                "div",
                [_render_choice(number, text) for number, text in enumerate(choices, start=1)],
                class_="choices",
            ),
        ),
        page.tag("p", _describe_hint(mode), class_="note", id="hint"),
        page.tag(
            "div",
            page.tag("button", "Back", type="button", id="back"),
            page.tag("button", "Next", type="submit", id="next", class_="main"),
            class_="buttons",
        ),
        page.note(_KEYS[mode]),
        id="trial",
    )
    content = {"id": test, "mode": mode, "trials": [list(trial) for trial in trials]}
    data = json.dumps(content).replace("<", "\\u003c")
    return page.document(
        "Listening test",
        page.tag("noscript", page.tag("p", "This page needs JavaScript.")),
        page.tag("p", id="count", role="status"),
        page.tag("progress", id="progress", max=len(trials), value=0, aria_label="Progress"),
        form,
        _render_end(),
        script=f"const TEST={data};\n{(_ASSETS / 'script.js').read_text('utf-8')}",
        style=(_ASSETS / "style.css").read_text("utf-8"),
    )


def _describe_hint(mode: str) -> str:
    return "Play both before you choose." if mode == "ab" else "Play it before you choose."


def _render_player(letter: str) -> page.Html:
    label = f"Sound {letter}".strip()
    return page.card(
        "",
        page.tag("h2", letter, class_="letter") if letter else "",
        page.tag("audio", controls=True, preload="auto", aria_label=label),
    )


def _render_choice(number: int, text: str) -> page.Html:
    label = f"{number} · {text}" if text in RATINGS else text
    radio = page.tag("input", type="radio", name="choice", value=number)
    return page.tag("label", radio, label, class_="choice")


def _render_end() -> page.Html:
    return page.tag(
        "section",
        page.tag("h2", "Thank you", id="end-title", tabindex="-1"),
        page.tag("p", "Save the answers, and send the file to whoever gave you this test."),
        page.tag("label", "Your name, if you like", for_="listener"),
        page.tag("p", page.tag("input", type="text", id="listener", class_="field", maxlength=80)),
        page.tag(
            "div",
            page.tag("button", "Save the answers", type="button", id="save", class_="main"),
            page.tag("button", "Back", type="button", id="end-back"),
            page.tag("button", "Start again, for another listener", type="button", id="restart"),
            class_="buttons",
        ),
        page.details(
            "The answers as text, if they cannot be saved",
            page.tag("textarea", id="json", readonly=True, aria_label="The answers as JSON"),
        ),
        id="end",
        hidden=True,
    )
