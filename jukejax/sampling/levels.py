"""Sampling of the codes of a level: new tracks, a range again, the last bar of a loop; resumable.

Dimensions: B items, t codes of a level; R rows, which are items or their candidates.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common.progress import Progress
from jukejax.inference import generate
from jukejax.inference.conditioning import Labels, PriorWeights
from jukejax.inference.loaded_model import Model
from jukejax.inference.token_loop import LogitsFilter
from jukejax.models.prior_config import PriorConfig
from jukejax.sampling import reroll
from jukejax.sampling.folder import LevelState
from jukejax.sampling.initial_state import InitialState, find_reroll_span
from jukejax.sampling.loop import append_beginning, find_last_bar
from jukejax.sampling.plan import TrackPlan
from jukejax.sampling.request import Request
from jukejax.sampling.threads import iterate_in_thread

OnProgress = Callable[[int, int, int], None]  # level, finished codes of each track, all its codes
Save = Callable[[np.ndarray], None]


class StateStore(Protocol):
    """Keeps the states of unfinished stages."""

    def load_state(self, stage: str) -> LevelState | None:
        """Returns the state of a stage of an interrupted run; None if there is none."""

    def save_state(self, stage: str, state: LevelState) -> None:
        """Keeps the state of a stage."""


class NoStore:
    """Keeps no states, for runs that cannot be resumed."""

    def load_state(self, stage: str) -> None:
        """Returns None."""

    def save_state(self, stage: str, state: LevelState) -> None:
        """Does nothing."""


def level_stage(level: int) -> str:
    """Returns the name of the state of a level, or of a re-rolled range of it."""
    return f"level_{level}"


def loop_stage(level: int) -> str:
    """Returns the name of the state of the last bar of a loop."""
    return f"loop_{level}"


@dataclasses.dataclass(frozen=True)
class LevelSampler:
    """Samples the codes of levels.

    Attributes:
      plans: of the tracks, which have one shape (`plan.find_shape`).
      store: has the state of an interrupted run.
      on_progress: called after every batch of windows; None: lines on stderr.
      name: of the tracks, for these lines.
    """

    model: Model
    plans: Sequence[TrackPlan]
    store: StateStore
    on_progress: OnProgress | None = None
    name: str = ""

    @property
    def _request(self) -> Request:
        """Returns the request of the first track, for what is the same for all."""
        return self.plans[0].request

    @property
    def _initial_state(self) -> InitialState:
        """Returns the initial state of the first track, for what is the same for all."""
        return self.plans[0].initial_state

    def make_level(
        self,
        level: int,
        codes: np.ndarray | None,
        upper_codes: np.ndarray | None,
        targets: list[int],
        save: Save,
    ) -> np.ndarray:
        """Samples a level: its missing codes, or the range to re-roll; see `sample_level`.

        Args:
          codes: None: none are fixed.
        """
        if self._request.mode == "reroll":
            return self.reroll_level(level, upper_codes, save)
        if codes is None:
            codes = np.zeros((len(self.plans), 0), np.int32)
        return self.sample_level(level, codes, upper_codes, targets, save)

    def sample_level(
        self,
        level: int,
        codes: np.ndarray,
        upper_codes: np.ndarray | None,
        targets: list[int],
        save: Save,
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
            upper_codes=self._prepare_upper_codes(config, upper_codes),
            labels=self._list_labels(level),
            keys=self._make_keys(level),
        )
        return self._sample_codes(level_stage(level), config, weights, tracks, targets, save)

    def reroll_level(self, level: int, upper_codes: np.ndarray | None, save: Save) -> np.ndarray:
        """Samples the re-rolled range of a level; returns the complete tracks, int32 [B, t].

        Args:
          save: as in `sample_level`, with the codes of all candidates.
        """
        total = self._initial_state.totals[level]
        assert self._request.reroll is not None
        span = find_reroll_span(self._request.reroll, self.model, level, total)
        original = np.stack([plan.initial_state.codes[level] for plan in self.plans])
        return self._resample_range(level_stage(level), level, original, upper_codes, span, save)

    def close_loop(
        self, level: int, codes: np.ndarray, upper_codes: np.ndarray | None, save: Save
    ) -> np.ndarray:
        """Samples the last bar of a level again, with the beginning as its continuation.

        A prompt is kept.

        Args:
          codes, upper_codes: as in `sample_level`, complete.
          save: as in `reroll_level`.

        Returns:
          The tracks, int32 [B, t].
        """
        total, hops = self._initial_state.totals[level], self.model.hops
        begin = find_last_bar(self._initial_state.grid, self.model, level, total)
        begin = max(begin, len(self._initial_state.codes.get(level, ())))
        width, frame = hops[-1] // hops[level], self.model.codec.config.unit // hops[level]
        length = min((total - begin) // width * width, total)
        if upper_codes is not None:
            ratio = hops[level + 1] // hops[level]
            upper_codes = append_beginning(
                upper_codes, total // ratio, length // ratio, frame // ratio
            )
        original = append_beginning(codes, total, length, frame)
        span = begin, total
        stage = loop_stage(level)
        return self._resample_range(stage, level, original, upper_codes, span, save)[:, :total]

    def _resample_range(
        self,
        stage: str,
        level: int,
        original: np.ndarray,
        upper_codes: np.ndarray | None,
        span: tuple[int, int],
        save: Save,
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
        count, labels = self._request.candidates, self._list_labels(level)
        begin, stop = span
        upper_codes = self._prepare_upper_codes(config, upper_codes)
        tracks = generate.LevelTracks(
            total=stop,
            codes=np.repeat(original[:, :begin], count, axis=0),
            upper_codes=None if upper_codes is None else np.repeat(upper_codes, count, axis=0),
            labels=[item for item in labels for _ in range(count)],
            keys=reroll.make_candidate_keys(self._make_keys(level), count),
        )
        candidates = self._sample_codes(stage, config, weights, tracks, [stop], save)
        return reroll.select_candidates(
            config,
            weights,
            candidates=candidates,
            continuations=original[:, stop:],
            upper_codes=upper_codes,
            labels=labels,
        )

    def _list_labels(self, level: int) -> list[Labels]:
        return [plan.initial_state.labels[level] for plan in self.plans]

    def _make_keys(self, level: int) -> jax.Array:
        """Returns the PRNG keys [B] of the tracks, each that of its own request."""
        by_seed = itertools.groupby(self.plans, lambda plan: plan.request.seed)
        return jnp.concatenate(
            [
                generate.make_item_keys(seed, [plan.item for plan in plans], level)
                for seed, plans in by_seed
            ]
        )

    def _prepare_upper_codes(
        self, config: PriorConfig, upper_codes: np.ndarray | None
    ) -> np.ndarray | None:
        """Returns the inputs of a prior from the codes above [B, t // ratio]; None at the top."""
        if config.upper is None:
            return None
        assert upper_codes is not None
        return np.stack([self.model.prepare_upper_codes(config, codes) for codes in upper_codes])

    def _sample_codes(
        self,
        stage: str,
        config: PriorConfig,
        weights: PriorWeights,
        tracks: generate.LevelTracks,
        targets: list[int],
        save: Save,
    ) -> np.ndarray:
        """Samples codes up to each of `targets` in turn; resumes the state of an interrupted run.

        Args:
          stage: name of that state.
          tracks: of R rows; their `total` is replaced by each target.
          save: called with the codes so far, int32 [R, t], after their state is written.
        """
        settings = self._make_settings(config, len(tracks.codes) // len(self.plans))
        state = self.store.load_state(stage) or LevelState(tracks.codes, 0, {})
        codes = state.codes
        report_progress = self._start_progress(config.level, targets[-1], codes.shape[1])
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
                self.store.save_state(stage, LevelState(codes, target, step.pending))
                save(codes)
                report_progress(begin + (target - begin) * step.done // step.total)
        return codes

    def _start_progress(self, level: int, total: int, done: int) -> Callable[[int], object]:
        """Returns a function that reports the number of finished codes of a level."""
        on_progress = self.on_progress
        if on_progress is None:
            name = f"{self.name}, " if self.name else ""
            return Progress(f"{name}level {level}, codes", total, done=done).update
        return lambda done: on_progress(level, done, total)

    def _make_settings(self, config: PriorConfig, rows: int) -> generate.SamplingSettings:
        """Returns the settings of a level for tracks of so many rows each."""
        request, level = self._request, config.level
        requests = [plan.request for plan in self.plans for _ in range(rows)]
        return generate.SamplingSettings(
            window_hop=self.model.window_hop(level, request.hop_fraction[level]),
            temperature=tuple(each.temperature[level] for each in requests),
            guidance=tuple(each.guidance.get(level, 1.0) for each in requests),
            guided_labels=tuple(each.guided_labels for each in requests),
            logits_filter=LogitsFilter(*request.find_logits_filter(level)),
            schedule="sequential" if config.upper is None else request.schedule,
            memory_fraction=request.memory_fraction,
            devices=tuple(jax.local_devices()),
        )
