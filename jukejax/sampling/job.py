"""Sampling of tracks of one shape in one batch: level by level, window by window, resumable.

Dimensions: B items, t codes of a level.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np

from jukejax.inference.loaded_model import Model
from jukejax.sampling.folder import Codes, LevelTimer, SampleFolder
from jukejax.sampling.levels import LevelSampler, level_stage, loop_stage
from jukejax.sampling.plan import TrackPlan, stack_codes
from jukejax.sampling.streaming import StreamGroup, count_first_codes, find_stream_targets
from jukejax.sampling.takes import TakeSettings, TakeWriter
from jukejax.sampling.track_results import RESULTS, decode_track, describe_track, select_item


@dataclasses.dataclass
class SampleJob:
    """Samples tracks of one shape, level by level, or resumes an interrupted run.

    Attributes:
      plans: of the tracks, which have one shape (`plan.find_shape`).
      folder: their folders, in the order of `plans`.
      started_at: start of the command by `time.monotonic`, for the time to first audio.
      name: for progress lines.
    """

    model: Model
    plans: Sequence[TrackPlan]
    folder: SampleFolder
    started_at: float
    name: str = ""

    def __post_init__(self) -> None:
        self._sampler = LevelSampler(self.model, self.plans, self.folder, name=self.name)
        self._request = self.plans[0].request  # for what is the same for all tracks
        self._initial_state = self.plans[0].initial_state
        self._codes: Codes = {}
        self._streams: StreamGroup | None = None
        self._prepare: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Writes meta.json, and reads the codes of an interrupted run."""
        self.folder.remove_unfinished_files()
        self._write_meta()
        self._codes = self._load_codes()

    @property
    def levels(self) -> list[int]:
        """Returns the levels to sample, from coarse to fine."""
        return self._initial_state.levels

    def is_finished(self, level: int) -> bool:
        """Returns true if a level is sampled and decoded, or is none of `levels`."""
        return level not in self.levels or (
            self._is_complete(level) and self.folder.has_audio(level)
        )

    def make_level(self, level: int, prepare: Callable[[], None] = lambda: None) -> None:
        """Samples the missing codes of a level, and decodes it.

        Args:
          prepare: starts work in the background; called at once, or after the first audio of a
            stream.
        """
        timer = LevelTimer(self.folder, level)
        self._prepare = prepare
        if not self._request.stream:
            prepare()
        elif self._streams is None:
            self._open_streams(level)
        if not self._is_complete(level):
            self._codes[level] = self._sample_level(level, timer)
        self.folder.save_codes(self._codes)
        if self._request.loop:
            self._close_loop(level, timer)
        sounds = [self._decode(row, level) for row in self.folder.rows]
        if self._streams is not None:
            self._streams.finish(level, sounds)
        self._report_first_audio()
        timer.write()
        for row, sound in enumerate(sounds):
            self.folder.write_audio(row, level, sound, self.model.sample_rate)

    def remove_state(self, level: int) -> None:
        """Removes the states of a finished level."""
        for stage in (level_stage(level), loop_stage(level)):
            self.folder.remove_state(stage)

    def write_takes(self, settings: TakeSettings) -> None:
        """Writes the missing takes of the finest level."""
        writer = TakeWriter(self.folder, settings, self.model.folder.name)
        writer.write_missing(lambda row: self._decode(row, self.levels[-1]), self.model.sample_rate)

    def _decode(self, row: int, level: int) -> np.ndarray:
        """Decodes a level of one track, float32 [time, 1]."""
        codes = select_item(self._codes, row)
        return decode_track(self.model, self.plans[row].request, codes, level)

    def _load_codes(self) -> Codes:
        """Returns the initial codes, or those of an interrupted run, {level: [B, t]}."""
        codes = stack_codes([plan.initial_state.codes for plan in self.plans])
        if self._request.mode == "reroll":  # a level is complete when its range is sampled
            codes = {level: value for level, value in codes.items() if level > self.levels[0]}
        return codes | self.folder.load_codes()

    def _is_complete(self, level: int) -> bool:
        codes = self._codes.get(level)
        return codes is not None and codes.shape[1] == self._initial_state.totals[level]

    def _write_meta(self) -> None:
        for row, plan in enumerate(self.plans):
            description = describe_track(self.model, plan)
            previous_meta = self.folder.read_meta(row)
            results = {name: previous_meta[name] for name in RESULTS if name in previous_meta}
            self.folder.update_meta(row, **description | results)

    def _sample_level(self, level: int, timer: LevelTimer) -> np.ndarray:
        """Samples the codes of a level, int32 [B, t]; writes each window of new tracks."""
        config, total = self.model.read_config(level), self._initial_state.totals[level]
        targets = [total]
        if self._streams is not None and config.upper is None:
            targets = find_stream_targets(
                begin=len(self._initial_state.codes.get(level, ())),
                first=count_first_codes(self.model, level),
                seq_len=config.seq_len,
                total=total,
            )

        def save(codes: np.ndarray) -> None:
            if self._request.mode != "reroll":  # whose codes are candidates
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

    def _open_streams(self, level: int) -> None:
        """Starts the streams with the existing codes, before `level` is sampled."""
        model = self.model
        paths = [item / "stream.wav" for item in self.folder.items]
        samples = self._initial_state.totals[level] * model.hops[level]
        self._streams = StreamGroup(paths, model.codec, samples)
        complete = [k for k in sorted(self._codes) if k >= level and self._is_complete(k)]
        if complete:
            finest = complete[0]
            sounds = [self._decode(row, finest) for row in self.folder.rows]
            self._streams.finish(finest, sounds)
        if level in self._codes and not self._is_complete(level):
            self._streams.grow(level, self._codes[level])
        self._report_first_audio()

    def _report_first_audio(self) -> None:
        """Prints and records, once, the time to the first audio after the prompt of every item."""
        prompt_samples = self._initial_state.prompt_seconds * self.model.sample_rate
        if self._streams is None or self._streams.frames <= prompt_samples:
            return
        self._prepare()
        if self.folder.read_meta(0)["seconds_to_first_audio"] is None:
            seconds = round(time.monotonic() - self.started_at, 3)
            print(f"first sound after {seconds:.1f} s: {self.folder.items[0] / 'stream.wav'}")
            for row in self.folder.rows:
                self.folder.update_meta(row, seconds_to_first_audio=seconds)
