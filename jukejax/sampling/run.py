"""Making the tracks of a sample folder: level after level, window after window, going on anywhere.

Dimensions: B items, t codes of a level; R rows, which are items or, when re-rolling, all their
candidates.
"""

import concurrent.futures
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import jax
import numpy as np

from jukejax.common.progress import Progress
from jukejax.inference import generate
from jukejax.inference.conditioning import PriorWeights
from jukejax.inference.loaded_model import Model
from jukejax.inference.token_loop import LogitsFilter
from jukejax.models.prior import PriorConfig
from jukejax.pages import report
from jukejax.sampling import reroll
from jukejax.sampling.folder import Codes, SampleFolder, State
from jukejax.sampling.request import Request
from jukejax.sampling.start import Start, repeated, reroll_span
from jukejax.sampling.streaming import Stream

T = TypeVar("T")
FIRST_AUDIO_SECONDS = 1.0


def interruptible(steps: Iterable[T]) -> Iterator[T]:
    """Yields from `steps`, each of which runs in a thread: Ctrl-C need not wait for a program that
    is running on the device."""
    iterator, end = iter(steps), object()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        while (step := pool.submit(next, iterator, end).result()) is not end:
            yield step
    finally:
        pool.shutdown(wait=False)


def first_targets(begin: int, first: int, seq_len: int, total: int) -> list[int]:
    """How far to draw before the track is heard for the first, second ... time, and `total` last.

    Drawing the first window in pieces, each as long as all before it, brings sound early and
    changes no code: a piece is told what the whole window would be.

    Args:
      begin: codes that are given.
      first: codes until the first sound.
      seq_len: codes of a window.
      total: codes of the track.
    """
    targets = []
    while begin + first < min(seq_len, total):
        targets.append(begin + first)
        first *= 2
    return [*targets, total]


class Run:
    """What one call of `sample` does to its folder."""

    def __init__(
        self, model: Model, request: Request, start: Start, folder: SampleFolder, began: float
    ):
        """Args: began: when the user asked, by `time.monotonic`, for the time to first audio."""
        self._model, self._request, self._start = model, request, start
        self._folder, self._began = folder, began
        self._codes: Codes = {}
        self._streams: list[Stream] = []

    def __call__(self) -> None:
        """Makes every level that is not there yet; writes the page after each."""
        self._folder.tidy()
        self._write_meta()
        self._codes = self._begin()
        for level in self._start.levels:
            if not self._is_whole(level) or not self._folder.has_audio(level):
                self._make_level(level)
                report.write_sample_page(self._folder.output)
            self._folder.finish_level(level)
        self._folder.tidy()
        report.write_sample_page(self._folder.output)

    def _begin(self) -> Codes:
        """{level: [B, t]}: what is given, and over it what an earlier run has made."""
        start = self._start
        given = start.codes
        if self._request.mode == "reroll":  # a level counts when its range is drawn
            given = {level: codes for level, codes in given.items() if level > start.levels[0]}
        return repeated(given, len(self._folder.rows)) | self._folder.load()

    def _is_whole(self, level: int) -> bool:
        codes = self._codes.get(level)
        return codes is not None and codes.shape[1] == self._start.totals[level]

    def _write_meta(self) -> None:
        request, start, model = self._request, self._start, self._model
        names = {level: f"level_{level}" for level in start.levels}
        first = start.levels[0]
        for row, item in enumerate(request.items):
            before = self._folder.meta(row)
            self._folder.write_meta(
                row,
                seed=request.seed,
                item=item,
                mode=request.mode,
                artist=request.artist,
                genre=request.genre,
                lyrics=request.lyrics or None,
                seconds=round(start.totals[first] * model.hops[first] / model.sample_rate, 6),
                total_seconds=request.total_seconds,
                offset_seconds=request.offset_seconds,
                temperature={name: request.temperature[k] for k, name in names.items()},
                hop_fraction={name: request.hop_fraction[k] for k, name in names.items()},
                top_k=request.top_k,
                top_p=request.top_p,
                schedule=request.schedule,
                model=model.hash,
                prompt_seconds=round(start.prompt_seconds, 6),
                reroll=request.reroll,
                gain=before.get("gain", {}),
                timings=before.get("timings", {}),
                seconds_per_second_of_audio=before.get("seconds_per_second_of_audio"),
                seconds_to_first_audio=before.get("seconds_to_first_audio"),
            )

    def _make_level(self, level: int) -> None:
        """Codes, as far as they are missing, then sound."""
        clock = Clock(self._folder, level)
        if self._request.stream and not self._streams:
            self._open_streams(level)
        if not self._is_whole(level):
            draw = self._reroll_level if self._request.mode == "reroll" else self._sample_level
            self._codes[level] = draw(level, clock)
        self._folder.save(self._codes)
        codec = self._model.codec
        sounds = [codec.decode(codes, level) for codes in self._codes[level]]
        for stream, sound in zip(self._streams, sounds, strict=False):
            stream.finish(level, sound[:, 0])
        self._note_first_audio()
        clock.note()
        for row, sound in enumerate(sounds):
            self._folder.write_audio(row, level, sound, self._model.sample_rate)

    def _sample_level(self, level: int, clock: "Clock") -> np.ndarray:
        """The codes of a level, int32 [B, t], each window written as it is drawn."""
        config, weights = self._model.load_prior(level)
        given = self._codes.get(level, np.zeros((len(self._folder.rows), 0), np.int32))
        total, targets = self._start.totals[level], []
        if self._streams and config.upper is None:
            targets = first_targets(
                begin=len(self._start.codes.get(level, ())),
                first=self._first_codes(level),
                seq_len=config.seq_len,
                total=total,
            )

        def keep(codes: np.ndarray) -> None:
            self._folder.save(self._codes | {level: codes})
            for stream, row in zip(self._streams, codes, strict=False):
                stream.grow(level, row)
            self._note_first_audio()
            clock.note()

        return self._draw(
            config,
            weights,
            given=given,
            targets=targets or [total],
            upper=None if config.upper is None else self._codes[level + 1],
            keys=generate.make_item_keys(self._request.seed, self._request.items, level),
            keep=keep,
        )

    def _reroll_level(self, level: int, clock: "Clock") -> np.ndarray:
        """The codes of a level with the range made anew, int32 [B, t]."""
        config, weights = self._model.load_prior(level)
        count, items = self._request.candidates, len(self._folder.rows)
        total = self._start.totals[level]
        begin, stop = reroll_span(self._request.reroll, self._model, level, total)
        before = np.tile(self._start.codes[level], (items, 1))
        upper = None if config.upper is None else self._codes[level + 1]
        keys = generate.make_item_keys(self._request.seed, self._request.items, level)
        drawn = self._draw(
            config,
            weights,
            given=np.repeat(before[:, :begin], count, axis=0),
            targets=[stop],
            upper=None if upper is None else np.repeat(upper, count, axis=0),
            keys=reroll.candidate_keys(keys, count),
            keep=lambda codes: clock.note(),
        )
        return reroll.choose(
            config,
            weights,
            drawn=drawn,
            kept=before[:, stop:],
            upper=upper,
            labels=[self._start.labels[level]] * items,
        )

    def _draw(
        self,
        config: PriorConfig,
        weights: PriorWeights,
        *,
        given: np.ndarray,
        targets: list[int],
        upper: np.ndarray | None,
        keys: jax.Array,
        keep: Callable[[np.ndarray], None],
    ) -> np.ndarray:
        """Draws codes up to each of `targets` in turn, from where an earlier run has stopped.

        Args:
          given: int32 [R, t] that rows begin with.
          upper: int32 [R, ...], the level above, to the end of the last target or beyond.
          keys: [R].
          keep: called with the codes so far, int32 [R, t], after their state is on disk.
        """
        request, level = self._request, config.level
        state = self._folder.load_state(level) or State(given, 0, {})
        codes = state.codes
        progress = Progress(f"level {level}, codes", targets[-1], done=codes.shape[1])
        for target in targets:
            begin = codes.shape[1]
            if begin >= target:
                continue
            steps = generate.sample_level(
                config,
                weights,
                generate.LevelTracks(
                    total=target,
                    codes=codes,
                    upper_codes=upper,
                    labels=[self._start.labels[level]] * len(given),
                    keys=keys,
                ),
                generate.SamplingSettings(
                    window_hop=self._model.window_hop(level, request.hop_fraction[level]),
                    temperature=request.temperature[level],
                    logits_filter=LogitsFilter(request.top_k, request.top_p),
                    schedule="sequential" if config.upper is None else request.schedule,
                    memory_fraction=request.memory_fraction,
                ),
                pending=state.parts if target == state.target else {},
            )
            for step in interruptible(steps):
                codes = step.codes
                self._folder.save_state(level, State(codes, target, step.pending))
                keep(codes)
                progress.update(begin + (target - begin) * step.done // step.total)
        return codes

    def _first_codes(self, level: int) -> int:
        """Codes until there is a first sound of `FIRST_AUDIO_SECONDS`."""
        model = self._model
        heard = math.ceil(FIRST_AUDIO_SECONDS * model.sample_rate / model.hops[level])
        return heard + model.codec.margin(level)

    def _open_streams(self, level: int) -> None:
        """Begins each item's stream with what is there when `level` is the next to be made."""
        model = self._model
        samples = self._start.totals[level] * model.hops[level]
        whole = [above for above in sorted(self._codes) if above >= level and self._is_whole(above)]
        for row, item in enumerate(self._folder.items):
            stream = Stream(item / "stream.wav", model.codec, samples)
            if whole:
                sound = model.codec.decode(self._codes[whole[0]][row], whole[0])
                stream.finish(whole[0], sound[:, 0])
            if level in self._codes and not self._is_whole(level):
                stream.grow(level, self._codes[level][row])
            self._streams.append(stream)
        self._note_first_audio()

    def _note_first_audio(self) -> None:
        """Says and writes, once, when there was sound behind the prompt of every item."""
        given = self._start.prompt_seconds * self._model.sample_rate
        if not self._streams or min(stream.frames for stream in self._streams) <= given:
            return
        if self._folder.meta(0)["seconds_to_first_audio"] is None:
            seconds = round(time.monotonic() - self._began, 3)
            print(f"first sound after {seconds:.1f} s: {self._folder.items[0] / 'stream.wav'}")
            for row in self._folder.rows:
                self._folder.write_meta(row, seconds_to_first_audio=seconds)


class Clock:
    """What a level has cost, over all runs that worked on it."""

    def __init__(self, folder: SampleFolder, level: int):
        self._folder, self._level = folder, level
        self._before, self._began = folder.seconds_spent(level), time.monotonic()

    def note(self) -> None:
        """Writes it to meta.json."""
        seconds = self._before + time.monotonic() - self._began
        self._folder.note_time(self._level, seconds)
