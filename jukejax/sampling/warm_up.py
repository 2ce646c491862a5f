"""Preparation of a process for a sketch, before its request is known."""

import dataclasses

import numpy as np

from jukejax.inference.loaded_model import Model
from jukejax.sampling.levels import LevelSampler, NoStore
from jukejax.sampling.plan import plan_tracks
from jukejax.sampling.request import Request
from jukejax.sampling.streaming import count_first_codes

_GUIDANCE = 2.0  # any weight but 1 has the same program
_FEW_CODES = 16


def compile_sketch(folder: str) -> None:
    """Compiles the programs of a track's first audio: a guided window of the top, and its decoder.

    A few codes are sampled, by the program of all windows. What is compiled, or read from JAX's
    cache, stays in this process; weights are released.

    Args:
      folder: of the model.
    """
    model = Model(folder)
    level = model.levels[-1]
    request = Request(
        levels=(level,), temperature={level: 1.0}, hop_fraction={level: 0.5}, seconds=1.0
    )
    has_labels = model.read_config(level).labels is not None
    guidance = {level: _GUIDANCE if has_labels else 1.0}
    plans = plan_tracks(model, dataclasses.replace(request, guidance=guidance))
    sampler = LevelSampler(model, plans, NoStore(), on_progress=_ignore_progress)
    no_codes = np.zeros((1, 0), np.int32)
    sampler.sample_level(level, no_codes, None, [_FEW_CODES], _ignore_codes)
    count, margin = count_first_codes(model, level), model.codec.margin(level)
    model.codec.decode_range(np.zeros(count, np.int32), level, 0, count - margin)


def _ignore_progress(level: int, done: int, total: int) -> None:
    """Reports nothing."""


def _ignore_codes(codes: np.ndarray) -> None:
    """Stands for the writing of unfinished codes."""
