"""The page of a run's milestones: the same tracks at several steps, with the figures of each."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.pages import page
from jukejax.pages.assets import Assets

RHYTHM = {  # figures of `analysis.rhythm.Rhythm.to_dict`: title and format
    "tempo_bpm": ("tempo, BPM", ".1f"),
    "pulse": ("pulse", ".2f"),
    "beat_spread_percent": ("beat spread, %", ".2f"),
    "four_on_the_floor": ("four on the floor", ".2f"),
    "similarity_1_bars": ("bar to next bar", ".2f"),
}


@dataclass(frozen=True)
class MilestoneTrack:
    """A track that was generated at a milestone.

    Attributes:
      name: the same at every milestone.
      wav: its sound at the finest level.
      rhythm: figures of the generated part; None where there is too little of it, or no pulse.
      verdict: of the audit; "" without one.
      copied: share of its generated seconds that are in the training music.
    """

    name: str
    wav: Path
    rhythm: dict[str, float | None]
    verdict: str = ""
    copied: float | None = None


@dataclass(frozen=True)
class Milestone:
    """A step of a run: its losses in bits per code, and its tracks.

    Attributes:
      gap: held-out less training loss.
    """

    step: int
    training_bits: float | None
    heldout_bits: float | None
    gap: float | None
    tracks: tuple[MilestoneTrack, ...]

    def average_rhythm(self, name: str) -> float | None:
        """Returns the mean of a figure over the tracks that have it; None without any."""
        figures = [track.rhythm.get(name) for track in self.tracks]
        values = [value for value in figures if value is not None]
        return float(np.mean(values)) if values else None

    @property
    def copied(self) -> float | None:
        """The mean share of copied seconds; None without an audit."""
        shares = [track.copied for track in self.tracks if track.copied is not None]
        return float(np.mean(shares)) if shares else None

    def describe_audit(self) -> str:
        """Describes the verdicts: `3 novel, 1 copied; 12 % of the seconds copied`."""
        if self.copied is None:
            return "–"
        counts = Counter(track.verdict for track in self.tracks)
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        return f"{verdicts}; {100 * self.copied:.0f} % of the seconds copied"

    def to_json(self, root: Path) -> dict:
        """Returns the figures; paths are relative to the page."""
        return {
            "step": self.step,
            "training_bits": self.training_bits,
            "heldout_bits": self.heldout_bits,
            "gap": self.gap,
            "copied": self.copied,
            "rhythm": {name: self.average_rhythm(name) for name in RHYTHM},
            "tracks": [
                {
                    "name": track.name,
                    "wav": track.wav.relative_to(root).as_posix(),
                    "verdict": track.verdict or None,
                    "copied": track.copied,
                    "rhythm": {name: track.rhythm.get(name) for name in RHYTHM},
                }
                for track in self.tracks
            ],
        }


def write_milestone_page(
    folder: str | os.PathLike, run: str, milestones: Sequence[Milestone]
) -> tuple[Path, list[tuple[str, str]]]:
    """Writes `folder`/index.html and milestones.json.

    Args:
      run: name of the run.
      milestones: in the order of their steps, with the same tracks.

    Returns:
      The path of index.html, and the key figures as (name, value).
    """
    assets = Assets(folder)
    names = [track.name for track in milestones[0].tracks]
    sections = [
        page.section(
            f"track_{number}",
            name,
            page.grid([_render_track(milestone, number, assets) for milestone in milestones]),
        )
        for number, name in enumerate(names)
    ]
    text = page.document(
        f"Milestones of {run}",
        page.tag(
            "p", "The same seeds and prompts, at several steps of the training.", class_="lead"
        ),
        _render_table(milestones),
        *sections,
    )
    index = Path(folder) / "index.html"
    files.write_json(
        index.with_name("milestones.json"),
        {"run": run, "milestones": [each.to_json(Path(folder)) for each in milestones]},
    )
    files.write_text(index, text)
    return index, [(f"step {each.step:,}", _summarize(each)) for each in milestones]


def _render_table(milestones: Sequence[Milestone]) -> page.Html:
    columns = ["step", "audit", "training", "held out", "gap"]
    columns += [title for title, _ in RHYTHM.values()]
    rows = [
        (
            f"{milestone.step:,}",
            milestone.describe_audit(),
            *(
                page.number(value, ".3f")
                for value in (milestone.training_bits, milestone.heldout_bits, milestone.gap)
            ),
            *(
                page.number(milestone.average_rhythm(name), form)
                for name, (_, form) in RHYTHM.items()
            ),
        )
        for milestone in milestones
    ]
    return page.table(
        "Losses in bits a code; a growing gap means that the model memorizes its tracks. Figures "
        "of rhythm are means over the tracks below.",
        columns,
        rows,
        text=2,
    )


def _render_track(milestone: Milestone, number: int, assets: Assets) -> page.Html:
    track = milestone.tracks[number]
    title = f"step {milestone.step:,}"
    name = f"step_{milestone.step}_{number}"
    sound = assets.add_sound(track.wav, name, title, f"{track.name}, {title}")
    tempo = page.number(track.rhythm.get("tempo_bpm"), ".1f", "BPM")
    verdict = ""
    if track.copied is not None:
        verdict = f"{track.verdict}, {100 * track.copied:.0f} % copied; "
    return page.card(title, sound, page.note(verdict + tempo))


def _summarize(milestone: Milestone) -> str:
    heldout, gap = page.number(milestone.heldout_bits, ".3f"), page.number(milestone.gap, ".3f")
    pulse = page.number(milestone.average_rhythm("pulse"), ".2f")
    return f"held out {heldout} bits, gap {gap}, pulse {pulse}, audit {milestone.describe_audit()}"
