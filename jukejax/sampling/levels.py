"""Sampling of the codes of a level: new tracks, a range again, the last bar of a loop; resumable.

Dimensions: B items, t codes of a level; R rows, which are items or their candidates.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from jukejax.common.progress import Progress
from jukejax.inference import generate
from jukejax.inference.conditioning import PriorWeights
from jukejax.inference.loaded_model import Model
from jukejax.inference.token_loop import LogitsFilter
from jukejax.models.prior import PriorConfig
from jukejax.sampling import reroll
from jukejax.sampling.folder import LevelState, LevelTimer, SampleFolder
from jukejax.sampling.initial_state import InitialState, find_reroll_span
from jukejax.sampling.loop import append_beginning, find_last_bar
from jukejax.sampling.request import Request
from jukejax.sampling.threads import iterate_in_thread


def level_stage(level: int) -> str:
    """Returns the name of the state of a level, or of a re-rolled range of it."""
    return f"level_{level}"


def loop_stage(level: int) -> str:
    """Returns the name of the state of the last bar of a loop."""
    return f"loop_{level}"


@dataclasses.dataclass(frozen=True)
class LevelSampler:
    """Samples the codes of levels; the state of an interrupted run is in the folder."""

    model: Model
    request: Request
    initial_state: InitialState
    folder: SampleFolder

    def sample_level(
        self,
        level: int,
        codes: np.ndarray,
        upper_codes: np.ndarray | None,
        targets: list[int],
        save: Callable[[np.ndarray], None],
    ) -> np.ndarray:
        """Samples the missing codes of a level, up to each of `targets` in turn.

        Args:
          codes: int32 [B, t], which are kept.
          upper_codes: int32 [B, t // ratio], the level above, if there is one.
          save: called with the codes so far, int32 [B, t], after their state is written.

        Returns:
          The tracks, int32 [B, t].
        """
        config, weights = self.model.load_prior(level)
        tracks = generate.LevelTracks(
            total=targets[-1],
            codes=codes,
            upper_codes=None if config.upper is None else upper_codes,
            labels=[self.initial_state.labels[level]] * len(self.folder.rows),
            keys=generate.make_item_keys(self.request.seed, self.request.items, level),
        )
        return self._sample_codes(level_stage(level), config, weights, tracks, targets, save)

    def reroll_level(
        self, level: int, upper_codes: np.ndarray | None, timer: LevelTimer
    ) -> np.ndarray:
        """Samples the re-rolled range of a level; returns the complete tracks, int32 [B, t]."""
        total = self.initial_state.totals[level]
        assert self.request.reroll is not None
        span = find_reroll_span(self.request.reroll, self.model, level, total)
        original = np.tile(self.initial_state.codes[level], (len(self.folder.rows), 1))
        return self._resample_range(level_stage(level), level, original, upper_codes, span, timer)

    def close_loop(
        self, level: int, codes: np.ndarray, upper_codes: np.ndarray | None, timer: LevelTimer
    ) -> np.ndarray:
        """Samples the last bar of a level again, with the beginning as its continuation.

        A prompt is kept.

        Args:
          codes, upper_codes: as in `sample_level`, complete.

        Returns:
          The tracks, int32 [B, t].
        """
        total, hops = self.initial_state.totals[level], self.model.hops
        begin = find_last_bar(self.initial_state.grid, self.model, level, total)
        begin = max(begin, len(self.initial_state.codes.get(level, ())))
        width = hops[-1] // hops[level]
        length = min((total - begin) // width * width, total)
        if upper_codes is not None:
            ratio = hops[level + 1] // hops[level]
            upper_codes = append_beginning(upper_codes, total // ratio, length // ratio)
        original = append_beginning(codes, total, length)
        span = begin, total
        stage = loop_stage(level)
        return self._resample_range(stage, level, original, upper_codes, span, timer)[:, :total]

    def _resample_range(
        self,
        stage: str,
        level: int,
        original: np.ndarray,
        upper_codes: np.ndarray | None,
        span: tuple[int, int],
        timer: LevelTimer,
    ) -> np.ndarray:
        """Samples a range of codes again, and selects among the candidates.

        Args:
          stage: name of the state of an interrupted run.
          original: int32 [B, t].
          upper_codes: int32 [B, t // ratio], the level above.
          span: first code, and the one after the last.

        Returns:
          The tracks, int32 [B, t].
        """
        config, weights = self.model.load_prior(level)
        count, num_items = self.request.candidates, len(self.folder.rows)
        begin, stop = span
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
        settings = self._make_settings(config)
        state = self.folder.load_state(stage) or LevelState(tracks.codes, 0, {})
        codes = state.codes
        progress = Progress(f"level {config.level}, codes", targets[-1], done=codes.shape[1])
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
