"""Lyrics on a page: words that are highlighted while they are sung, and a picture of attention."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jukejax.analysis.lyric_times import TimedWord
from jukejax.common import files
from jukejax.pages import page, pictures
from jukejax.pages.assets import Assets

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRAME = 0.2  # seconds of a step of the animation
LEVELS = 10  # shades of a word
COLUMNS = 1200  # largest width of a picture's map

# While a player of an item runs, its words are shaded by the attention to them (one digit for each
# FRAME), and the one that is sung is underlined.
FOLLOW_WORDS = (
    f'addEventListener("timeupdate",e=>{{const t=e.target.currentTime,f=Math.floor(t/{FRAME});'
    'const box=e.target.closest(".item");if(box)box.querySelectorAll("[data-start]").forEach(w=>{'
    'w.classList.toggle("sung",+w.dataset.start<=t&&t<+w.dataset.end);'
    f'w.style.setProperty("--attention",(w.dataset.attention[f]||0)/{LEVELS - 1})}})}},true)'
)


def summarize_attention(
    attention: np.ndarray, letters: Sequence[range], seconds_per_code: float
) -> dict[str, Any]:
    """Summarizes attention [codes, letters] for the animation.

    Returns:
      frame_seconds; attention: for each word a string with a digit for each frame, the attention to
      its letters as a share of the largest.
    """
    width = max(round(FRAME / seconds_per_code), 1)
    starts = np.arange(0, len(attention), width)
    frames = np.zeros((len(starts), len(letters)))
    if attention.size:
        sums = np.add.reduceat(attention, starts, axis=0)  # [frames, letters]
        for word, span in enumerate(letters):
            frames[:, word] = sums[:, span.start : span.stop].sum(axis=1)
    shades = np.rint(frames / max(frames.max(initial=0.0), 1e-12) * (LEVELS - 1)).astype(int)
    return {"frame_seconds": FRAME, "attention": ["".join(map(str, row)) for row in shades.T]}


def write_picture(
    attention: np.ndarray,
    path: Path,
    seconds_per_code: float,
    words: Sequence[TimedWord],
    letters: Sequence[range],
) -> None:
    """Writes a picture of attention [codes, letters], with the times of the words as a line."""
    width = max(-(-len(attention) // COLUMNS), 1)
    starts = np.arange(0, len(attention), width)
    pooled = np.add.reduceat(attention, starts, axis=0) / width
    seconds = len(attention) * seconds_per_code
    sung = [(w, span) for w, span in zip(words, letters, strict=True) if span and w.end > w.start]

    def draw(figure: "Figure", axes: "Axes", theme: pictures.Theme) -> None:
        image = axes.imshow(
            np.sqrt(pooled.T),  # faint attention is visible too
            aspect="auto",
            cmap="magma",
            vmin=0,
            extent=(0, seconds, attention.shape[1] - 0.5, -0.5),
            interpolation="nearest",
        )
        for word, span in sung:
            axes.plot((word.start, word.end), (span.start, span.stop - 1), color="#5fd7ff", lw=0.8)
        bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=22)
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=theme.quiet, labelsize=6, length=2)
        bar.set_label("square root of attention", color=theme.quiet, fontsize=6.5)
        axes.set_xlabel("time (seconds)")
        axes.set_ylabel("letter of the lyrics")

    pictures.write_picture(draw, path, "Attention to the lyrics")


def read_alignment(folder: Path) -> dict[str, Any]:
    """Reads the alignment of a song; {} if there is none, or it is not complete."""
    table = files.read_json_if_any(folder / "alignment.json")
    return table if {"words", "lines", "attention"} <= table.keys() else {}


def render_alignment(table: Mapping[str, Any], folder: Path, assets: Assets) -> page.Html:
    """Returns the lyrics of a song with the times of their words, and the picture beside them."""
    words = iter(zip(table["words"], table["attention"], strict=True))
    lines = [
        page.tag("p", [_render_word(*word) for word in islice(words, count)], class_="lyrics")
        for count in table["lines"]
        if count
    ]
    image = folder / "alignment.png"
    return page.Html(
        page.tag("h3", "Lyrics")
        + page.markup(lines)
        + page.note(_describe_head(table))
        + (
            page.picture(assets.relative_path(image), "Attention of each moment to each letter")
            if image.is_file()
            else ""
        )
    )


def _render_word(word: Mapping[str, Any], attention: str) -> page.Html:
    element = page.tag(
        "span",
        word["word"],
        data_start=word["start"],
        data_end=word["end"],
        data_attention=attention,
        title=f"{word['start']:.2f} s",
    )
    return page.Html(element + " ")


def _describe_head(table: Mapping[str, Any]) -> str:
    text = f"Times by the attention of layer {table.get('layer')}, head {table.get('head')}."
    errors, even = table.get("errors"), table.get("errors_of_even_spread")
    if errors and even:
        text += (
            f" Of {errors['words']} words whose time is known {errors['within']:.0%} begin within "
            f"0.3 s of it, half within {errors['median']:.2f} s; of an even spread "
            f"{even['within']:.0%}."
        )
    return text
