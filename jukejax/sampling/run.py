"""Sampling of the tracks of an output folder: level by level, window by window, resumable.

Dimensions: B items, t codes of a level.
"""

import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.common import interruption
from jukejax.inference.loaded_model import Model
from jukejax.pages import report
from jukejax.sampling.background import BackgroundWork
from jukejax.sampling.folder import (
    Codes,
    LevelTimer,
    SampleFolder,
    claim_folder,
    lock_folder,
)
from jukejax.sampling.initial_state import (
    InitialState,
    inherit_labels,
    read_initial_state,
    repeat_items,
)
from jukejax.sampling.levels import LevelSampler, level_stage, loop_stage
from jukejax.sampling.lyric_alignment import align_items
from jukejax.sampling.request import Request
from jukejax.sampling.streaming import StreamGroup, find_stream_targets
from jukejax.sampling.takes import TakeSettings, TakeWriter
from jukejax.sampling.tracks import RESULTS, decode_track, describe_items

FIRST_AUDIO_SECONDS = 1.0


@dataclasses.dataclass
class SampleJob:
    """Samples the tracks of an output folder, or resumes an interrupted run.

    Attributes:
      started_at: start of the command by `time.monotonic`, for the time to first audio.
      takes: files for other programs; None: none are written.
    """

    model: Model
    request: Request
    initial_state: InitialState
    folder: SampleFolder
    started_at: float
    takes: TakeSettings | None = None

    def __post_init__(self) -> None:
        self._sampler = LevelSampler(self.model, self.request, self.initial_state, self.folder)
        self._codes: Codes = {}
        self._streams: StreamGroup | None = None

    def run(self) -> None:
        """Samples every unfinished level, and writes the page after each."""
        self.folder.remove_unfinished_files()
        self._write_meta()
        self._codes = self._load_codes()
        levels = self.initial_state.levels
        unfinished = [
            level
            for level in levels
            if not self._is_complete(level) or not self.folder.has_audio(level)
        ]
        background = BackgroundWork(self.model, unfinished, self.folder.output)
        try:
            for level in levels:
                if level in unfinished:
                    self._make_level(level)
                    background.update_page()
                for stage in (level_stage(level), loop_stage(level)):
                    self.folder.remove_state(stage)
            background.wait_for_page()
            self.folder.remove_unfinished_files()
            if self.request.lyrics:
                align_items(self.model, self.folder.output)
            if self.takes is not None:
                self._write_takes(self.takes)
            report.write_sample_page(self.folder.output)
        finally:
            background.stop()

    def _load_codes(self) -> Codes:
        """Returns the initial codes, or those of an interrupted run, {level: [B, t]}."""
        codes = self.initial_state.codes
        if self.request.mode == "reroll":  # a level is complete when its range is sampled
            first = self.initial_state.levels[0]
            codes = {level: value for level, value in codes.items() if level > first}
        return repeat_items(codes, len(self.folder.rows)) | self.folder.load_codes()

    def _is_complete(self, level: int) -> bool:
        codes = self._codes.get(level)
        return codes is not None and codes.shape[1] == self.initial_state.totals[level]

    def _write_meta(self) -> None:
        items = describe_items(self.model, self.request, self.initial_state)
        for row, description in enumerate(items):
            previous_meta = self.folder.read_meta(row)
            results = {name: previous_meta[name] for name in RESULTS if name in previous_meta}
            self.folder.update_meta(row, **description | results)

    def _make_level(self, level: int) -> None:
        """Samples the missing codes of a level, and decodes it."""
        timer = LevelTimer(self.folder, level)
        if self.request.stream and self._streams is None:
            self._open_streams(level)
        if not self._is_complete(level):
            self._codes[level] = self._sample_level(level, timer)
        self.folder.save_codes(self._codes)
        if self.request.loop:
            self._close_loop(level, timer)
        sounds = [
            decode_track(self.model, self.request, codes, level) for codes in self._codes[level]
        ]
        if self._streams is not None:
            self._streams.finish(level, sounds)
        self._report_first_audio()
        timer.write()
        for row, sound in enumerate(sounds):
            self.folder.write_audio(row, level, sound, self.model.sample_rate)

    def _sample_level(self, level: int, timer: LevelTimer) -> np.ndarray:
        """Samples the codes of a level, int32 [B, t]; writes each window of new tracks."""
        config, total = self.model.read_config(level), self.initial_state.totals[level]
        targets = [total]
        if self._streams is not None and config.upper is None:
            targets = find_stream_targets(
                begin=len(self.initial_state.codes.get(level, ())),
                first=self._count_first_codes(level),
                seq_len=config.seq_len,
                total=total,
            )

        def save(codes: np.ndarray) -> None:
            if self.request.mode != "reroll":  # whose codes are candidates
                self.folder.save_codes(self._codes | {level: codes})
            if self._streams is not None:
                self._streams.grow(level, codes)
            self._report_first_audio()
            timer.write()

        codes, upper_codes = self._codes.get(level), self._codes.get(level + 1)
        return self._sampler.make_level(level, codes, upper_codes, targets, save)

    def _close_loop(self, level: int, timer: LevelTimer) -> None:
        """Samples the last bar of a level again, so that it leads to the first."""
        if level in self.folder.read_meta(0)["closed_levels"]:
            return
        upper = self._codes.get(level + 1)
        self._codes[level] = self._sampler.close_loop(
            level, self._codes[level], upper, lambda candidates: timer.write()
        )
        self.folder.save_codes(self._codes)
        for row in self.folder.rows:
            levels = self.folder.read_meta(row)["closed_levels"]
            self.folder.update_meta(row, closed_levels=sorted({*levels, level}))

    def _write_takes(self, settings: TakeSettings) -> None:
        """Writes the takes of the finest level."""
        level = self.initial_state.levels[-1]
        writer = TakeWriter(self.folder, settings, self.model.folder.name)
        writer.write_missing(
            lambda row: decode_track(self.model, self.request, self._codes[level][row], level),
            self.model.sample_rate,
        )

    def _count_first_codes(self, level: int) -> int:
        """Returns the number of codes for `FIRST_AUDIO_SECONDS` of audio."""
        model = self.model
        codes = math.ceil(FIRST_AUDIO_SECONDS * model.sample_rate / model.hops[level])
        return codes + model.codec.margin(level)

    def _open_streams(self, level: int) -> None:
        """Starts the streams with the existing codes, before `level` is sampled."""
        model = self.model
        paths = [item / "stream.wav" for item in self.folder.items]
        samples = self.initial_state.totals[level] * model.hops[level]
        self._streams = StreamGroup(paths, model.codec, samples)
        complete = [k for k in sorted(self._codes) if k >= level and self._is_complete(k)]
        if complete:
            finest = complete[0]
            sounds = [model.codec.decode(codes, finest) for codes in self._codes[finest]]
            self._streams.finish(finest, sounds)
        if level in self._codes and not self._is_complete(level):
            self._streams.grow(level, self._codes[level])
        self._report_first_audio()

    def _report_first_audio(self) -> None:
        """Prints and records, once, the time to the first audio after the prompt of every item."""
        prompt_samples = self.initial_state.prompt_seconds * self.model.sample_rate
        if self._streams is None or self._streams.frames <= prompt_samples:
            return
        if self.folder.read_meta(0)["seconds_to_first_audio"] is None:
            seconds = round(time.monotonic() - self.started_at, 3)
            print(f"first sound after {seconds:.1f} s: {self.folder.items[0] / 'stream.wav'}")
            for row in self.folder.rows:
                self.folder.update_meta(row, seconds_to_first_audio=seconds)


def sample_tracks(
    model: Model,
    request: Request,
    output: Path,
    settings: dict[str, Any],
    started_at: float,
    takes: TakeSettings | None = None,
) -> float:
    """Samples the tracks of a request into `output`; returns the length of each in seconds.

    Args:
      settings: all settings that affect the tracks; those of an existing folder must be equal.
      started_at: start of the command by `time.monotonic`.
      takes: files for other programs; None: none are written.

    Raises:
      ValueError: the request does not fit the model, or lacks what `takes` need; `output` has
        other settings, or another process writes to it.
    """
    request = inherit_labels(model, request)
    initial_state = read_initial_state(model, request)
    if takes is not None:
        takes.check(initial_state.grid)
    with lock_folder(output):
        claim_folder(output, settings)
        folder = SampleFolder(output, request.items)
        try:
            SampleJob(model, request, initial_state, folder, started_at, takes).run()
        except (KeyboardInterrupt, interruption.Stopped):
            print(f"{output} keeps finished work; the same command resumes it", file=sys.stderr)
            raise
    return initial_state.seconds(model)
