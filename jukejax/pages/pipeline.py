"""The results of a pipeline, from music to samples, read from the folders of its stages."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jukejax.common import files
from jukejax.common.json_values import parse_number
from jukejax.data import records
from jukejax.data.sample_items import Item, list_levels, read_item_codes, read_items
from jukejax.pages.page import duration
from jukejax.pages.runs import Corpus, TrainingRun, count_corpus_codes

PathLike = str | os.PathLike


@dataclass(frozen=True)
class PipelinePaths:
    """Folders and files of a pipeline; each may be None, missing or unfinished.

    Attributes:
      audio, codes: data set folders that `prepare` and `encode` wrote.
      vqvae, control: working folders of the VQ-VAE and of a copy with a frozen codebook.
      priors: working folders of the priors, that of the top level first.
      bundle: folder of the exported model.
      samples: folders of generated tracks.
      commands: text file of the commands that were run.
      timings: JSON file {stage: seconds}, in the order in which the stages ran.
    """

    audio: PathLike | None = None
    codes: PathLike | None = None
    vqvae: PathLike | None = None
    control: PathLike | None = None
    priors: Sequence[PathLike] = ()
    bundle: PathLike | None = None
    samples: Sequence[PathLike] = ()
    commands: PathLike | None = None
    timings: PathLike | None = None


class LevelFidelity(NamedTuple):
    """Held-out spectral convergence of a level, and that of the frozen control."""

    level: int
    trained: float
    control: float | None

    @property
    def margin(self) -> float | None:
        """Returns the reduction of the control's error, as a share of it."""
        return (self.control - self.trained) / self.control if self.control else None


class LevelPrediction(NamedTuple):
    """Held-out bits per code of a prior, and the entropy of the histogram of its codes."""

    level: int
    bits: float
    entropy: float | None

    @property
    def saved(self) -> float | None:
        """Returns the share of the entropy that the prior saves."""
        return 1 - self.bits / self.entropy if self.entropy else None


@dataclass(frozen=True)
class PipelineResults:
    """The content of the folders of a pipeline; missing results are None or empty."""

    levels: tuple[int, ...]  # the coarsest first
    hops: Sequence[int]  # samples of a code, by level
    corpus: Corpus
    codes: Path | None
    vqvae: TrainingRun | None
    control: TrainingRun | None
    priors: dict[int, TrainingRun]  # by level
    model: dict
    items: tuple[Item, ...]
    commands: str
    timings: dict[str, float]

    @classmethod
    def read(cls, paths: PipelinePaths) -> "PipelineResults":
        """Reads the folders and files of a pipeline."""
        model = files.read_json_if_any(Path(paths.bundle) / "model.json") if paths.bundle else {}
        description = model
        if not model and paths.vqvae:
            description = files.read_json_if_any(Path(paths.vqvae) / "description.json")
        levels = list_levels(description)
        priors = {
            level: _read_training_run(folder)
            for level, folder in zip(levels, paths.priors, strict=False)
        }
        commands = Path(paths.commands) if paths.commands else None
        timings = files.read_json_if_any(paths.timings) if paths.timings else {}
        seconds = {stage: parse_number(value) for stage, value in timings.items()}
        return cls(
            levels=levels,
            hops=description.get("hops") or records.HOPS,
            corpus=Corpus.read(Path(paths.audio) if paths.audio else None),
            codes=Path(paths.codes) if paths.codes else None,
            vqvae=_read_training_run(paths.vqvae),
            control=_read_training_run(paths.control),
            priors={level: run for level, run in priors.items() if run},
            model=model,
            items=tuple(read_items(*map(Path, paths.samples))),
            commands=(
                commands.read_text("utf-8", "replace") if commands and commands.is_file() else ""
            ),
            timings={stage: value for stage, value in seconds.items() if value is not None},
        )

    def count_codes(self) -> tuple[Mapping[int, np.ndarray], str]:
        """Counts each code of each level, in the encoded music or else in the generated tracks.

        Returns:
          Counts [codebook_size] by level, and a sentence that names their source.
        """
        size = 0
        if self.codes and (self.codes / "dataset.json").is_file():
            description = files.read_json_if_any(self.codes / "dataset.json")
            size = int(parse_number(description.get("codebook_size")) or 0)
            counts, seconds = count_corpus_codes(self.codes, size)
            if seconds:
                return counts, f"Counted in {duration(seconds)} of encoded music."
        codes = read_item_codes(self.items)
        counts = {
            level: np.bincount(
                np.concatenate([item[level] for item in codes if level in item]), minlength=size
            )
            for level in self.levels
            if any(len(item.get(level, ())) for item in codes)
        }
        return counts, "Counted in the generated tracks, as the encoded music is missing."

    def list_fidelity(self) -> list[LevelFidelity]:
        """Returns the held-out fidelity of the VQ-VAE, for each level that has been evaluated."""
        rows = []
        for level in self.levels:
            key = f"level_{level}/spectral_convergence"
            trained = self.vqvae.find_heldout(key) if self.vqvae else None
            if trained is not None:
                control = self.control.find_heldout(key) if self.control else None
                rows.append(LevelFidelity(level, trained, control))
        return rows

    def list_prediction(self) -> list[LevelPrediction]:
        """Returns the held-out bits per code of each prior that has been evaluated."""
        rows = []
        for level, run in self.priors.items():
            bits = run.find_heldout("bits_per_code")
            if bits is not None:
                rows.append(LevelPrediction(level, bits, run.find_heldout("histogram_entropy")))
        return rows

    @property
    def seconds_per_second(self) -> float | None:
        """Returns computing seconds per second of generated music, the mean of all tracks."""
        costs = [parse_number(item.meta.get("seconds_per_second_of_audio")) for item in self.items]
        measured = [cost for cost in costs if cost is not None]
        return sum(measured) / len(measured) if measured else None

    def list_stage_seconds(self) -> tuple[dict[str, float], str]:
        """Returns seconds by stage, and a sentence about their content."""
        if self.timings:
            source = "Wall-clock time of each command, start-up and compilation included."
            return self.timings, source
        stages = {"train the VQ-VAE": self.vqvae, "train the frozen control": self.control}
        stages |= {f"train prior {level}": run for level, run in self.priors.items()}
        seconds = {stage: run.seconds for stage, run in stages.items() if run and run.seconds}
        return seconds, "Times of the training runs only: no file of timings was given."


def _read_training_run(folder: PathLike | None) -> TrainingRun | None:
    return TrainingRun.read(Path(folder)) if folder and Path(folder).is_dir() else None
