"""The measurements of `evaluate`; each adds rows to a table, or a note why it is omitted."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jukejax.analysis import codebook, fidelity, track_figures
from jukejax.analysis.track_figures import TrackMeasurements
from jukejax.common import extras
from jukejax.common.formatting import format_count
from jukejax.common.progress import track_progress
from jukejax.data import corpus
from jukejax.evaluation import (
    comparison,
    control_figures,
    heldout_bits,
    model_figures,
    pairs,
    sound_sets,
    tagger,
    window_joins,
)
from jukejax.evaluation.rows import Row, TrackFigures
from jukejax.evaluation.sound_sets import Entry, SoundSet
from jukejax.inference.loaded_model import Model
from jukejax.models.musicnn import Weights
from jukejax.weights import musicnn

SIDES = ("input", "reference")
Counts = tuple[np.ndarray | None, np.ndarray | None]  # of input and reference, int64 [K]


@dataclass(frozen=True)
class Settings:
    """The amounts to measure.

    Attributes:
      seconds: of each track, from its middle; 0: all.
      model_seconds: of each track for the measurements with a model; 0: all.
      max_windows: of held-out codes for each level; 0: all.
      draws, seed: of the bootstrap intervals.
    """

    seconds: float = 0.0
    model_seconds: float = 30.0
    max_windows: int = 64
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Request:
    """Inputs and settings of an evaluation.

    Attributes:
      inputs, references: sets of tracks; references may be None.
      model: folder of a model bundle, or None.
      codes: folder of held-out codes of that model, or None.
      musicnn: path of musicnn's wheel, or None.
      paired: each input is a processed version of the reference of the same name.
    """

    inputs: SoundSet
    references: SoundSet | None = None
    model: str | None = None
    codes: str | None = None
    musicnn: str | None = None
    paired: bool = False


def evaluate(request: Request, settings: Settings) -> "Evaluation":
    """Measures all requested figures.

    Raises:
      ValueError: an input cannot be used. Models and codes are checked before anything is measured.
    """
    model = Model(request.model) if request.model else None
    if model:
        model_figures.check_rate(model.codec)
        if request.codes:
            heldout_bits.check_codes(model, corpus.open_dataset(request.codes))
    weights = musicnn.load_musicnn_weights(request.musicnn) if request.musicnn else None
    evaluation = Evaluation(settings, request.inputs, request.references)
    evaluation.measure_sounds()
    evaluation.measure_control()
    if request.paired:
        evaluation.measure_pairs()
    if model:
        evaluation.measure_model(model)
        if request.codes:
            evaluation.measure_heldout_bits(model, request.codes)
    if weights:
        evaluation.measure_musicnn_distances(weights)
    return evaluation


@dataclass
class Evaluation:
    """Two sets of tracks and their measurements.

    Attributes:
      inputs, references: the sets; there may be no reference.
      rows: of the table.
      measured: tracks of the input and of the reference.
      counts: {level: (input, reference)}, occurrences of each code.
      bits: {level: {held-out track: figures}} of the priors.
      control: {generated track: figures}, how far it follows what was asked for.
      notes: omitted measurements with the reason, a line each.
    """

    settings: Settings
    inputs: SoundSet
    references: SoundSet | None
    rows: list[Row] = field(default_factory=list)
    measured: tuple[Sequence[TrackMeasurements], Sequence[TrackMeasurements]] = ((), ())
    counts: dict[int, Counts] = field(default_factory=dict)
    bits: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)
    control: dict[str, dict[str, float | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def entries(self) -> tuple[Sequence[Entry], Sequence[Entry]]:
        """Returns the sounds of the input and of the reference."""
        return self.inputs.entries, self.references.entries if self.references else ()

    # -- Sounds ----------------------------------------------------------------------------------

    def measure_sounds(self) -> None:
        """Adds figures of single tracks, and the distance of the sets in mel statistics."""
        inputs, references = (
            self._measure_tracks(entries, side)
            for entries, side in zip(self.entries, SIDES, strict=True)
        )
        self.measured = inputs, references
        figures = [[measured.figures for measured in tracks] for tracks in self.measured]
        self._add_comparison("sound and rhythm", *figures)
        statistics = [[measured.statistics for measured in tracks] for tracks in self.measured]
        self._add_distances("distance in mel statistics", *statistics)

    def _measure_tracks(self, entries: Sequence[Entry], side: str) -> list[TrackMeasurements]:
        tracks = [
            track_figures.measure_track(entry.name, entry.read(self.settings.seconds))
            for entry in track_progress(
                entries, total=len(entries), label=f"measuring the {side}, tracks"
            )
        ]
        longest = [track for track in tracks if track.seconds == sound_sets.LONGEST]
        if longest and not self.settings.seconds:
            count = format_count(len(longest), "such track")
            self.notes.append(
                f"{longest[0].name} is longer than {sound_sets.LONGEST // 60} minutes: its middle "
                f"is measured ({count} of the {side}); --seconds sets how much"
            )
        return tracks

    def measure_control(self) -> None:
        """Adds how far generated tracks follow the tempo, beats and key that were asked for."""
        self.control = control_figures.measure_entries(self.inputs.entries)
        self._add_comparison("asked against measured", list(self.control.values()), [])

    def measure_pairs(self) -> None:
        """Adds the errors of each input against the reference of the same name, without suffix.

        Raises:
          ValueError: an input has no such reference.
        """
        matched = pairs.match_pairs(*self.entries)
        figures, with_visqol = [], self._check_visqol()
        for output, target in track_progress(matched, total=len(matched), label="comparing pairs"):
            figures.append(
                pairs.measure_pair(target, output, self.settings.seconds, with_visqol=with_visqol)
            )
        names = [output.name for output, _ in matched]
        if note := pairs.describe_shifts(names, [x["shift_samples"] for x in figures]):
            self.notes.append(note)
        self._add_comparison("input against its originals", figures, [])

    def measure_musicnn_distances(self, weights: Weights) -> None:
        """Adds the distance of the sets in musicnn's features, and its tags."""
        taggings = []
        for entries, side in zip(self.entries, SIDES, strict=True):
            tracked = track_progress(entries, total=len(entries), label=f"musicnn, {side}, tracks")
            seconds = self.settings.model_seconds
            taggings.append([tagger.tag_sound(weights, x.read(seconds)) for x in tracked])
        features = [[tagging.features for tagging in side] for side in taggings]
        self._add_distances("distance in musicnn's features (not standard)", *features)
        self._add_comparison("musicnn's tags", *([x.figures for x in side] for side in taggings))

    # -- Model -----------------------------------------------------------------------------------

    def measure_model(self, model: Model) -> None:
        """Adds errors of the VQ-VAE, use of codes, distances in hidden states, and joins."""
        self._measure_codec(model)
        states = [
            model_figures.compute_hidden_states(model, entries, self.settings.model_seconds)
            for entries in self.entries
        ]
        part = f"distance in hidden states of the level {max(model.levels)} prior"
        self._add_distances(part, *states)
        if self.inputs.kind == "samples":
            self._measure_joins(model)

    def _measure_codec(self, model: Model) -> None:
        """Adds reconstruction errors and codebook use.

        The codes of generated tracks are the sampled ones, as an encoding of their audio would
        differ.
        """
        levels, size = range(len(model.hops)), model.codec.config.codebook_size
        figures: tuple[list[list], list[list]] = ([[] for _ in levels], [[] for _ in levels])
        counts: tuple[list[list], list[list]] = ([[] for _ in levels], [[] for _ in levels])
        with_visqol = self._check_visqol()
        for number, (entries, side) in enumerate(zip(self.entries, SIDES, strict=True)):
            if number == 0 and self.inputs.kind == "samples":
                counts[0][:] = model_figures.count_sampled_codes(
                    self.inputs.path, len(levels), size
                )
                continue
            for track_errors, track_counts in model_figures.reconstruct_tracks(
                model.codec,
                entries,
                side,
                seconds=self.settings.model_seconds,
                with_visqol=with_visqol,
            ):
                for level in levels:
                    figures[number][level].append(track_errors[level])
                    counts[number][level].append(track_counts[level])
        for level in reversed(levels):
            by_side = [side[level] for side in figures]
            self._add_comparison(f"reconstruction, level {level}", *by_side)
        usage = comparison.PooledFigures(
            _codebook_figures, draws=self.settings.draws, seed=self.settings.seed
        )
        for level in reversed(levels):
            inputs, references = (side[level] for side in counts)
            self.rows += usage.compare(f"codebook, level {level}", inputs, references)
            self.counts[level] = _sum_counts(inputs), _sum_counts(references)

    def _measure_joins(self, model: Model) -> None:
        rows_before = len(self.rows)
        for level, at_joins, elsewhere in window_joins.measure_generated_joins(
            model, self.inputs.path, self.entries[1]
        ):
            self._add_comparison(f"joins of windows, level {level}", at_joins, elsewhere)
        if len(self.rows) == rows_before:
            self.notes.append(
                "joins of windows: left out, no track of the input has joins at known positions"
            )

    def measure_heldout_bits(self, model: Model, codes: str) -> None:
        """Adds the bits per code of each prior on held-out codes, and what labels change."""
        for level in sorted(model.levels, reverse=True):
            figures = heldout_bits.measure_heldout_bits(
                model, codes, level, max_windows=self.settings.max_windows
            )
            self.bits[level] = figures
            part = f"prior on held-out codes, level {level}"
            self._add_comparison(part, [], list(figures.values()))
            if model.read_config(level).labels is not None and not any(
                "label_changes" in values for values in figures.values()
            ):
                self.notes.append(
                    f"{part}: what labels change is left out, no held-out track has an artist or "
                    "genre that the model knows"
                )

    # -- Rows ------------------------------------------------------------------------------------

    def _add_comparison(self, part: str, inputs: TrackFigures, references: TrackFigures) -> None:
        self.rows += comparison.compare_tracks(
            part, inputs, references, draws=self.settings.draws, seed=self.settings.seed
        )

    def _add_distances(self, part: str, inputs: list, references: list) -> None:
        if not references:
            return
        rows = comparison.compare_embeddings(part, inputs, references, seed=self.settings.seed)
        self.rows += rows
        if not rows:
            self.notes.append(
                f"{part}: left out, it takes 2 tracks of the input and 4 of the reference, not "
                f"{len(inputs)} and {len(references)}"
            )

    def _check_visqol(self) -> bool:
        """Returns true if ViSQOL is installed; adds a note once if not."""
        note = f"ViSQOL: left out, it is not installed: {extras.format_install('visqol')}"
        if not (is_installed := fidelity.has_visqol()) and note not in self.notes:
            self.notes.append(note)
        return is_installed


def _codebook_figures(counts: np.ndarray) -> dict[str, float]:
    return codebook.measure_usage(counts).to_dict()


def _sum_counts(tracks: Sequence[np.ndarray]) -> np.ndarray | None:
    return np.sum(tracks, axis=0) if tracks else None
