"""Sampling of the tracks of an output folder: level by level, window by window, resumable.

Dimensions: B items, t codes of a level; R rows, which are items or, in a re-roll, their candidates.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.common import interruption
from jukejax.common.progress import Progress
from jukejax.inference import generate
from jukejax.inference.conditioning import PriorWeights
from jukejax.inference.loaded_model import Model
from jukejax.inference.token_loop import LogitsFilter
from jukejax.models.prior import PriorConfig
from jukejax.pages import report
from jukejax.sampling import reroll
from jukejax.sampling.folder import (
    Codes,
    LevelState,
    LevelTimer,
    SampleFolder,
    claim_folder,
    lock_folder,
)
from jukejax.sampling.initial_state import (
    InitialState,
    find_reroll_span,
    inherit_labels,
    read_initial_state,
    repeat_items,
)
from jukejax.sampling.loop import append_beginning, decode_loop, find_last_bar
from jukejax.sampling.request import Request
from jukejax.sampling.streaming import StreamGroup, find_stream_targets
from jukejax.sampling.threads import iterate_in_thread

FIRST_AUDIO_SECONDS = 1.0


def _level_stage(level: int) -> str:
    return f"level_{level}"


def _loop_stage(level: int) -> str:
    return f"loop_{level}"


@dataclasses.dataclass
class SampleJob:
    """Samples the tracks of an output folder, or resumes an interrupted run.

    Attributes:
      started_at: start of the command by `time.monotonic`, for the time to first audio.
    """

    model: Model
    request: Request
    initial_state: InitialState
    folder: SampleFolder
    started_at: float

    def __post_init__(self) -> None:
        self._codes: Codes = {}
        self._streams: StreamGroup | None = None

    def run(self) -> None:
        """Samples every unfinished level, and writes the page after each."""
        self.folder.remove_unfinished_files()
        self._write_meta()
        self._codes = self._load_codes()
        for level in self.initial_state.levels:
            if not self._is_complete(level) or not self.folder.has_audio(level):
                self._make_level(level)
                report.write_sample_page(self.folder.output)
            for stage in (_level_stage(level), _loop_stage(level)):
                self.folder.remove_state(stage)
        self.folder.remove_unfinished_files()
        report.write_sample_page(self.folder.output)

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
        request, model = self.request, self.model
        names = {level: f"level_{level}" for level in self.initial_state.levels}
        for row, item in enumerate(request.items):
            previous_meta = self.folder.read_meta(row)
            self.folder.update_meta(
                row,
                seed=request.seed,
                item=item,
                mode=request.mode,
                artist=request.artist,
                genre=request.genre,
                lyrics=request.lyrics or None,
                seconds=round(self.initial_state.seconds(model), 6),
                total_seconds=request.total_seconds,
                offset_seconds=request.offset_seconds,
                temperature={name: request.temperature[k] for k, name in names.items()},
                hop_fraction={name: request.hop_fraction[k] for k, name in names.items()},
                top_k=request.top_k,
                top_p=request.top_p,
                schedule=request.schedule,
                guidance={name: request.guidance.get(k, 1.0) for k, name in names.items()},
                grid=dataclasses.asdict(self.initial_state.grid),
                loop=request.loop,
                closed_levels=previous_meta.get("closed_levels", []),
                model=model.hash,
                vqvae=model.codec.identity,
                prompt_seconds=round(self.initial_state.prompt_seconds, 6),
                reroll=request.reroll,
                gain=previous_meta.get("gain", {}),
                timings=previous_meta.get("timings", {}),
                seconds_per_second_of_audio=previous_meta.get("seconds_per_second_of_audio"),
                seconds_to_first_audio=previous_meta.get("seconds_to_first_audio"),
            )

    def _make_level(self, level: int) -> None:
        """Samples the missing codes of a level, and decodes it."""
        timer = LevelTimer(self.folder, level)
        if self.request.stream and self._streams is None:
            self._open_streams(level)
        if not self._is_complete(level):
            is_reroll = self.request.mode == "reroll"
            sample = self._reroll_level if is_reroll else self._sample_level
            self._codes[level] = sample(level, timer)
        self.folder.save_codes(self._codes)
        if self.request.loop:
            self._close_loop(level, timer)
        sounds = [self._decode(codes, level) for codes in self._codes[level]]
        if self._streams is not None:
            self._streams.finish(level, sounds)
        self._report_first_audio()
        timer.write()
        for row, sound in enumerate(sounds):
            self.folder.write_audio(row, level, sound, self.model.sample_rate)

    def _sample_level(self, level: int, timer: LevelTimer) -> np.ndarray:
        """Samples the codes of a level, int32 [B, t]; writes each window."""
        config, weights = self.model.load_prior(level)
        total, targets = self.initial_state.totals[level], []
        if self._streams is not None and config.upper is None:
            targets = find_stream_targets(
                begin=len(self.initial_state.codes.get(level, ())),
                first=self._count_first_codes(level),
                seq_len=config.seq_len,
                total=total,
            )
        tracks = generate.LevelTracks(
            total=total,
            codes=self._codes.get(level, np.zeros((len(self.folder.rows), 0), np.int32)),
            upper_codes=None if config.upper is None else self._codes[level + 1],
            labels=[self.initial_state.labels[level]] * len(self.folder.rows),
            keys=generate.make_item_keys(self.request.seed, self.request.items, level),
        )

        def save(codes: np.ndarray) -> None:
            self.folder.save_codes(self._codes | {level: codes})
            if self._streams is not None:
                self._streams.grow(level, codes)
            self._report_first_audio()
            timer.write()

        return self._sample_codes(
            _level_stage(level), config, weights, tracks, targets or [total], save
        )

    def _reroll_level(self, level: int, timer: LevelTimer) -> np.ndarray:
        """Samples the re-rolled range of a level; returns the complete tracks, int32 [B, t]."""
        total = self.initial_state.totals[level]
        assert self.request.reroll is not None
        begin, stop = find_reroll_span(self.request.reroll, self.model, level, total)
        original = np.tile(self.initial_state.codes[level], (len(self.folder.rows), 1))
        return self._resample_range(
            _level_stage(level), level, original, self._codes.get(level + 1), begin, stop, timer
        )

    def _close_loop(self, level: int, timer: LevelTimer) -> None:
        """Samples the last bar of a level again, with the beginning as its continuation."""
        if level in self.folder.read_meta(0)["closed_levels"]:
            return
        total = self.initial_state.totals[level]
        begin = find_last_bar(self.initial_state.grid, self.model, level, total)
        width = self.model.hops[-1] // self.model.hops[level]
        length = (total - begin) // width * width
        upper = self._codes.get(level + 1)
        if upper is not None:
            ratio = self.model.hops[level + 1] // self.model.hops[level]
            upper = append_beginning(upper, total // ratio, length // ratio)
        original = append_beginning(self._codes[level], total, length)
        closed = self._resample_range(
            _loop_stage(level), level, original, upper, begin, total, timer
        )
        self._codes[level] = closed[:, :total]
        self.folder.save_codes(self._codes)
        for row in self.folder.rows:
            levels = self.folder.read_meta(row)["closed_levels"]
            self.folder.update_meta(row, closed_levels=sorted({*levels, level}))

    def _resample_range(
        self,
        stage: str,
        level: int,
        original: np.ndarray,
        upper_codes: np.ndarray | None,
        begin: int,
        stop: int,
        timer: LevelTimer,
    ) -> np.ndarray:
        """Samples codes `begin` to `stop` again, and selects among the candidates.

        Args:
          stage: name of the state of an interrupted run.
          original: int32 [B, t].
          upper_codes: int32 [B, t // ratio], the level above.

        Returns:
          The tracks, int32 [B, t].
        """
        config, weights = self.model.load_prior(level)
        count, num_items = self.request.candidates, len(self.folder.rows)
        if config.upper is None:
            upper_codes = None
        labels = self.initial_state.labels[level]
        keys = generate.make_item_keys(self.request.seed, self.request.items, level)
        tracks = generate.LevelTracks(
            total=stop,
            codes=np.repeat(original[:, :begin], count, axis=0),
            upper_codes=None if upper_codes is None else np.repeat(upper_codes, count, axis=0),
            labels=[labels] * (num_items * count),
            keys=reroll.make_candidate_keys(keys, count),
        )
        candidates = self._sample_codes(
            stage, config, weights, tracks, [stop], lambda codes: timer.write()
        )
        return reroll.select_candidates(
            config,
            weights,
            candidates=candidates,
            continuations=original[:, stop:],
            upper_codes=upper_codes,
            labels=[labels] * num_items,
        )

    def _decode(self, codes: np.ndarray, level: int) -> np.ndarray:
        """Decodes the codes [t] of a level to float32 [time, 1]."""
        samples = self.request.count_samples(self.model.sample_rate)
        if self.request.loop:
            assert samples is not None
            return decode_loop(self.model.codec, codes, level, samples)
        return self.model.codec.decode(codes, level)[:samples]

    def _sample_codes(
        self,
        stage: str,
        config: PriorConfig,
        weights: PriorWeights,
        tracks: generate.LevelTracks,
        targets: list[int],
        save: Callable[[np.ndarray], None],
    ) -> np.ndarray:
        """Samples codes up to each of `targets` in turn; resumes the state of an interrupted run.

        Args:
          stage: name of that state.
          tracks: of R rows; their `total` is replaced by each target.
          save: called with the codes so far, int32 [R, t], after their state is written.
        """
        level, settings = config.level, self._make_settings(config)
        state = self.folder.load_state(stage) or LevelState(tracks.codes, 0, {})
        codes = state.codes
        progress = Progress(f"level {level}, codes", targets[-1], done=codes.shape[1])
        for target in targets:
            begin = codes.shape[1]
            if begin >= target:
                continue
            steps = generate.sample_level(
                config,
                weights,
                dataclasses.replace(tracks, total=target, codes=codes),
                settings,
                pending=state.pending if target == state.target else {},
            )
            for step in iterate_in_thread(steps):
                codes = step.codes
                self.folder.save_state(stage, LevelState(codes, target, step.pending))
                save(codes)
                progress.update(begin + (target - begin) * step.done // step.total)
        return codes

    def _make_settings(self, config: PriorConfig) -> generate.SamplingSettings:
        request, level = self.request, config.level
        return generate.SamplingSettings(
            window_hop=self.model.window_hop(level, request.hop_fraction[level]),
            temperature=request.temperature[level],
            guidance=request.guidance.get(level, 1.0),
            logits_filter=LogitsFilter(request.top_k, request.top_p),
            schedule="sequential" if config.upper is None else request.schedule,
            memory_fraction=request.memory_fraction,
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
    model: Model, request: Request, output: Path, settings: dict[str, Any], started_at: float
) -> float:
    """Samples the tracks of a request into `output`; returns the length of each in seconds.

    Args:
      settings: all settings that affect the tracks; those of an existing folder must be equal.
      started_at: start of the command by `time.monotonic`.

    Raises:
      ValueError: the request does not fit the model; `output` has other settings, or another
        process writes to it.
    """
    request = inherit_labels(model, request)
    initial_state = read_initial_state(model, request)
    with lock_folder(output):
        claim_folder(output, settings)
        folder = SampleFolder(output, request.items)
        try:
            SampleJob(model, request, initial_state, folder, started_at).run()
        except (KeyboardInterrupt, interruption.Stopped):
            print(f"{output} keeps finished work; the same command resumes it", file=sys.stderr)
            raise
    return initial_state.seconds(model)
