"""Tracks in memory, sampled without a folder.

Dimensions: B items, t codes of a level.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.data import audio
from jukejax.data.grid import Grid
from jukejax.inference.loaded_model import Model
from jukejax.pages import report
from jukejax.sampling.folder import Codes, SampleFolder, claim_folder, lock_folder
from jukejax.sampling.levels import LevelSampler, NoStore, OnProgress
from jukejax.sampling.plan import plan_tracks, stack_codes
from jukejax.sampling.request import Request
from jukejax.sampling.source import NAMED_LABELS, SourceTrack
from jukejax.sampling.track_results import decode_track, describe_track, select_item


@dataclasses.dataclass(frozen=True, eq=False)
class Tracks:
    """Generated tracks; `tracks[0]` is the first one alone.

    Attributes:
      codes: {level: int32 [items, t]}, those of a prompt or a source among them.
      sounds: {level: float32 [items, samples]}, of every level that was sampled; a peak may be
        above 1.
      sample_rate: of the sounds, in Hz.
      settings: everything that the tracks depend on.
      descriptions: labels, settings and times of each item, as in the meta.json of a sample folder.
    """

    codes: Codes
    sounds: dict[int, np.ndarray]
    sample_rate: int
    settings: dict[str, Any]
    descriptions: Sequence[dict[str, Any]]

    @property
    def audio(self) -> np.ndarray:
        """The sound of the finest level, float32 [items, samples]."""
        return self.sounds[min(self.sounds)]

    def __len__(self) -> int:
        """Returns the number of items."""
        return len(self.descriptions)

    def __getitem__(self, item: int) -> "Tracks":
        """Returns one item alone."""
        rows = slice(item, item + 1 or None)
        if not -len(self) <= item < len(self):
            raise IndexError(f"item {item} does not exist: there are {len(self)}")
        return dataclasses.replace(
            self,
            codes={level: codes[rows] for level, codes in self.codes.items()},
            sounds={level: sounds[rows] for level, sounds in self.sounds.items()},
            descriptions=self.descriptions[rows],
        )

    def to_source(self) -> SourceTrack:
        """Returns the only item as a source of new tracks.

        Raises:
          ValueError: there are several items.
        """
        if len(self) != 1:
            raise ValueError(f"there are {len(self)} tracks; choose one, such as tracks[0]")
        meta = self.descriptions[0]
        return SourceTrack(
            codes={level: codes[0] for level, codes in self.codes.items()},
            grid=Grid(**meta["grid"]),
            names={name: meta[name] for name in NAMED_LABELS if meta[name]},
            vqvae=meta["vqvae"],
        )

    def write_wav(self, path: str | Path, item: int = 0) -> None:
        """Writes the sound of an item as 16-bit WAV; it is made softer if its peak is above 1."""
        audio.write_wav(path, self[item].audio[0], self.sample_rate)

    def write_folder(self, output: str | Path) -> None:
        """Writes a folder as the command `sample` does: codes, the sounds of all levels, a page.

        Raises:
          ValueError: the folder has tracks of other settings, or another process writes to it.
        """
        output = Path(output)
        with lock_folder(output):
            claim_folder(output, self.settings)
            folder = SampleFolder(output, [meta["item"] for meta in self.descriptions])
            for row, meta in enumerate(self.descriptions):
                folder.update_meta(row, **meta)
            folder.save_codes(self.codes)
            for level, sounds in self.sounds.items():
                for row, sound in enumerate(sounds):
                    folder.write_audio(row, level, sound, self.sample_rate)
            report.write_sample_page(output)


def sample_in_memory(
    model: Model,
    request: Request,
    settings: dict[str, Any],
    on_progress: OnProgress | None = None,
) -> Tracks:
    """Samples the tracks of a request: the same codes and sounds as `run.sample_tracks`.

    Args:
      settings: of `Tracks`.
      on_progress: see `LevelSampler`.

    Raises:
      ValueError: the request does not fit the model.
    """
    plans = plan_tracks(model, request)
    request, initial_state = plans[0].request, plans[0].initial_state
    sampler = LevelSampler(model, plans, NoStore(), on_progress)
    codes = stack_codes([plan.initial_state.codes for plan in plans])
    sounds: dict[int, np.ndarray] = {}
    timings: dict[str, float] = {}
    for level in initial_state.levels:
        started_at, upper_codes = time.monotonic(), codes.get(level + 1)
        total = initial_state.totals[level]
        codes[level] = sampler.make_level(
            level, codes.get(level), upper_codes, [total], _ignore_codes
        )
        if request.loop:
            codes[level] = sampler.close_loop(level, codes[level], upper_codes, _ignore_codes)
        rows = [
            decode_track(model, request, select_item(codes, row), level)[:, 0]
            for row in range(len(plans))
        ]
        sounds[level] = np.stack(rows)
        timings[f"level_{level}"] = round(time.monotonic() - started_at, 3)
    results = {"timings": timings, "closed_levels": sorted(sounds) if request.loop else []}
    descriptions = [describe_track(model, plan) | results for plan in plans]
    return Tracks(codes, sounds, model.sample_rate, settings, descriptions)


def _ignore_codes(codes: np.ndarray) -> None:
    """Stands for the writing of unfinished codes."""
