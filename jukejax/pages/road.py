"""A whole run as its folders tell it, and the figures that come out of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.pages.page import duration
from jukejax.pages.runs import (
    LEVELS,
    Corpus,
    Item,
    Run,
    codes_of_items,
    count_codes,
    figure,
    read_items,
)


@dataclass(frozen=True)
class Road:
    """A whole run as its folders tell it; what was not given or found is None or empty."""

    corpus: Corpus
    codes: Path | None
    vqvae: Run | None
    control: Run | None
    priors: dict[int, Run]  # by level
    model: dict
    items: tuple[Item, ...]
    commands: str
    timings: dict[str, float]

    @classmethod
    def read(
        cls,
        *,
        audio: str | os.PathLike | None,
        codes: str | os.PathLike | None,
        vqvae: str | os.PathLike | None,
        control: str | os.PathLike | None,
        priors: Sequence[str | os.PathLike],
        bundle: str | os.PathLike | None,
        samples: str | os.PathLike | None,
        commands: str | os.PathLike | None,
        timings: str | os.PathLike | None,
    ) -> "Road":
        def run(folder: str | os.PathLike | None) -> Run | None:
            return Run.read(Path(folder)) if folder and Path(folder).is_dir() else None

        runs = {level: run(folder) for level, folder in zip(LEVELS, priors, strict=False)}
        text = Path(commands) if commands else None
        measured = files.read_json_if_any(Path(timings)) if timings else {}
        seconds = {stage: figure(value) for stage, value in measured.items()}
        return cls(
            corpus=Corpus.read(Path(audio) if audio else None),
            codes=Path(codes) if codes else None,
            vqvae=run(vqvae),
            control=run(control),
            priors={level: found for level, found in runs.items() if found},
            model=files.read_json_if_any(Path(bundle) / "model.json") if bundle else {},
            items=tuple(read_items(Path(samples))) if samples else (),
            commands=text.read_text("utf-8", "replace") if text and text.is_file() else "",
            timings={stage: value for stage, value in seconds.items() if value is not None},
        )

    def codebook_counts(self) -> tuple[dict[int, np.ndarray], str]:
        """How often each code of a level occurs, and a line that says where they come from."""
        size = 0
        if self.codes and (self.codes / "dataset.json").is_file():
            size = int(
                figure(files.read_json_if_any(self.codes / "dataset.json").get("codebook_size"))
                or 0
            )
            counts, seconds = count_codes(self.codes, size)
            if seconds:
                return counts, f"Counted in {duration(seconds)} of encoded music."
        found = {level: codes_of_items(self.items, level) for level in LEVELS}
        counts = {
            level: np.bincount(np.concatenate(parts), minlength=size)
            for level, parts in found.items()
            if sum(map(len, parts))
        }
        return counts, "Counted in the generated tracks, since the encoded music is not at hand."

    def fidelity(self) -> list[tuple[int, float, float | None]]:
        """Level, held-out spectral convergence, and that of the frozen control."""
        rows = []
        for level in LEVELS:
            key = f"level_{level}/spectral_convergence"
            trained = self.vqvae.heldout(key) if self.vqvae else None
            if trained is not None:
                rows.append((level, trained, self.control.heldout(key) if self.control else None))
        return rows

    def prediction(self) -> list[tuple[int, float, float | None, float | None]]:
        """Level, held-out bits per code, entropy of the histogram, and the share saved."""
        rows = []
        for level, run in self.priors.items():
            bits = run.heldout("bits_per_code")
            if bits is not None:
                entropy = run.heldout("histogram_entropy")
                rows.append((level, bits, entropy, 1 - bits / entropy if entropy else None))
        return rows

    @property
    def cost(self) -> float | None:
        """Seconds of computing per second of generated music, the mean of all tracks."""
        costs = [figure(item.meta.get("seconds_per_second_of_audio")) for item in self.items]
        costs = [cost for cost in costs if cost is not None]
        return sum(costs) / len(costs) if costs else None

    def stage_seconds(self) -> tuple[dict[str, float], str]:
        """Seconds by stage, and a line that says what is counted."""
        if self.timings:
            said = "Wall-clock time of each command, start-up and compilation included."
            return self.timings, said
        runs = {"train the VQ-VAE": self.vqvae, "train the frozen control": self.control}
        runs |= {f"train prior {level}": run for level, run in self.priors.items()}
        seconds = {stage: run.seconds for stage, run in runs.items() if run and run.seconds}
        return seconds, "Only the training runs' own clocks: no file of timings was given."


def margin(trained: float, control: float | None) -> float | None:
    """By how much of the control's error the trained one is smaller."""
    return (control - trained) / control if control else None
