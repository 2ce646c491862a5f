"""What `evaluate` measures, part by part: each adds rows to a table, or says why it is left out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jukejax.analysis import codebook, fidelity, track_figures
from jukejax.analysis.track_figures import Measured
from jukejax.common.progress import track
from jukejax.data import audio
from jukejax.evaluation import comparison, sound_sets, tagger
from jukejax.evaluation import model_figures as evaluate_model
from jukejax.evaluation.comparison import Row
from jukejax.evaluation.sound_sets import Entry, SoundSet
from jukejax.inference.loaded_model import Model
from jukejax.models.musicnn import Weights

SIDES = ("input", "reference")


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
      seconds: of each track, from its middle; 0: all.
      model_seconds: of each track that go through a model; 0: all.
      max_windows: of held-out codes for each level; 0: all.
      draws, seed: behind each interval.
    """

    seconds: float = 0.0
    model_seconds: float = 30.0
    max_windows: int = 64
    draws: int = 1000
    seed: int = 0


@dataclass
class Evaluation:
    """Two sets of tracks, and what was found so far.

    Attributes:
      given, reference: the sets; there may be no reference.
      rows: the table.
      measured: tracks of the input and of the reference.
      counts: {level: (input, reference)}, how often each code occurs, int64 [K] or None.
      bits: {level: {held-out track: bits per code}}.
      notes: what was left out and why, a line each.
    """

    settings: Settings
    given: SoundSet
    reference: SoundSet | None
    rows: list[Row] = field(default_factory=list)
    measured: tuple[list[Measured], list[Measured]] = ((), ())
    counts: dict[int, tuple] = field(default_factory=dict)
    bits: dict[int, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def sets(self) -> tuple[Sequence[Entry], Sequence[Entry]]:
        """The sounds of the input and of the reference."""
        return self.given.entries, self.reference.entries if self.reference else ()

    # -- Sounds ----------------------------------------------------------------------------------

    def sounds(self) -> None:
        """What a track has by itself, and how far the sets are apart in sound."""

        def measure(entries: Sequence[Entry], side: str) -> list[Measured]:
            return [
                track_figures.measure(entry.name, self._read(entry, self.settings.seconds))
                for entry in track(
                    entries, total=len(entries), what=f"measuring the {side}, tracks"
                )
            ]

        self.measured = tuple(map(measure, self.sets, SIDES))
        figures = [[one.figures for one in tracks] for tracks in self.measured]
        self._compare("sound and rhythm", *figures)
        statistics = [[one.statistics for one in tracks] for tracks in self.measured]
        self._distances("distance in mel statistics", *statistics)

    def pairs(self) -> None:
        """What each input lost against the reference of its name, whatever the suffix."""

        def stem(entry: Entry) -> Path:
            return Path(entry.name).with_suffix("")

        given, reference = self.sets
        others = {stem(entry): entry for entry in reference}
        missing = [entry.name for entry in given if stem(entry) not in others]
        if missing:
            raise ValueError(
                f"--paired: --reference={self.reference.path} has nothing of the name of "
                f"{missing[0]} ({len(missing)} of {len(given)} lack a partner)"
            )
        found, with_visqol = [], self._visqol()
        for entry in track(given, total=len(given), what="comparing pairs"):
            target, output = (
                self._read(x, self.settings.seconds).mean(axis=1)
                for x in (others[stem(entry)], entry)
            )
            found.append(
                fidelity.figures(target, output, audio.SAMPLE_RATE, with_visqol=with_visqol)
            )
        self._compare("input against its originals", found, [])

    def by_musicnn(self, weights: Weights) -> None:
        """How far the sets are apart for musicnn."""
        embedded = []
        for entries, side in zip(self.sets, SIDES, strict=True):
            watched = track(entries, total=len(entries), what=f"musicnn, {side}, tracks")
            seconds = self.settings.model_seconds
            embedded.append([tagger.embed(weights, self._read(x, seconds)) for x in watched])
        self._distances("distance in musicnn's features (not standard)", *embedded)

    # -- Model -----------------------------------------------------------------------------------

    def model(self, model: Model) -> None:
        """What the VQ-VAE loses, how its codes are used, what the prior hears, and joins."""
        self._reconstruction(model)
        embedded = [
            evaluate_model.hidden_states(model, entries, self.settings.model_seconds)
            for entries in self.sets
        ]
        part = f"distance in hidden states of the level {max(model.levels)} prior"
        self._distances(part, *embedded)
        if self.given.kind == "samples":
            self._joins(model)

    def _reconstruction(self, model: Model) -> None:
        """Codes of generated tracks are those that were drawn, not those of their sound."""
        levels, size = range(len(model.hops)), model.codec.config.codebook_size
        figures = tuple([[] for _ in levels] for _ in SIDES)
        counts = tuple([[] for _ in levels] for _ in SIDES)
        with_visqol = self._visqol()
        for number, (entries, side) in enumerate(zip(self.sets, SIDES, strict=True)):
            if number == 0 and self.given.kind == "samples":
                drawn = evaluate_model.sampled_counts(self.given.path, len(levels), size)
                counts[0][:] = drawn
                continue
            for lost, occurrences in evaluate_model.reconstruct(
                model.codec,
                entries,
                side,
                seconds=self.settings.model_seconds,
                with_visqol=with_visqol,
            ):
                for level in levels:
                    figures[number][level].append(lost[level])
                    counts[number][level].append(occurrences[level])
        for level in reversed(levels):
            self._compare(f"reconstruction, level {level}", *(side[level] for side in figures))
        for level in reversed(levels):
            both = [side[level] for side in counts]
            self.rows += comparison.pooled(
                f"codebook, level {level}",
                *both,
                lambda found: codebook.figures(found).table(),
                draws=self.settings.draws,
                seed=self.settings.seed,
            )
            self.counts[level] = tuple(np.sum(side, axis=0) if side else None for side in both)

    def _joins(self, model: Model) -> None:
        before = len(self.rows)
        for level, at_joins, elsewhere in evaluate_model.seams(
            model, self.given.path, self.sets[1]
        ):
            self._compare(f"joins of windows, level {level}", at_joins, elsewhere)
        if len(self.rows) == before:
            self.notes.append(
                "joins of windows: left out, no track of the input has any whose place is known"
            )

    def heldout(self, model: Model, codes: str) -> None:
        """What the priors know of held-out codes, by level and by track."""
        for level in sorted(model.levels, reverse=True):
            bits = evaluate_model.heldout_bits(
                model, codes, level, max_windows=self.settings.max_windows
            )
            self.bits[level] = bits
            figures = [{"bits_per_code": value} for value in bits.values()]
            self._compare(f"prior on held-out codes, level {level}", [], figures)

    # -- Rows ------------------------------------------------------------------------------------

    def _read(self, entry: Entry, seconds: float) -> np.ndarray:
        return sound_sets.middle(entry.read(), seconds)

    def _compare(self, part: str, given: comparison.Figures, reference: comparison.Figures) -> None:
        draws = {"draws": self.settings.draws, "seed": self.settings.seed}
        self.rows += comparison.compare(part, given, reference, **draws)

    def _distances(self, part: str, given: list, reference: list) -> None:
        if not reference:
            return
        rows = comparison.distances(part, given, reference, seed=self.settings.seed)
        self.rows += rows
        if not rows:
            self.notes.append(
                f"{part}: left out, it takes a track of the input, two of the reference, and four "
                "pieces of each set"
            )

    def _visqol(self) -> bool:
        """Whether ViSQOL can be asked; if not, the notes say it once."""
        note = "ViSQOL: left out, it needs pip install 'jukejax[visqol]'"
        if not (found := fidelity.has_visqol()) and note not in self.notes:
            self.notes.append(note)
        return found
