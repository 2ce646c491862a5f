"""Decodes and describes sampled tracks: their sound, and their entries of meta.json.

Dimensions: B items, t codes of a level.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jukejax.inference.loaded_model import Model
from jukejax.inference.matched_decoding import decode_level
from jukejax.sampling.loop import decode_loop
from jukejax.sampling.plan import TrackPlan
from jukejax.sampling.request import Request
from jukejax.weights.recommended_settings import DEFAULTS, PER_LEVEL

# Entries of meta.json that are results; the others describe the request.
RESULTS = (
    "closed_levels",
    "gain",
    "timings",
    "seconds_per_second_of_audio",
    "seconds_to_first_audio",
)


def select_item(codes: Mapping[int, np.ndarray], row: int) -> dict[int, np.ndarray]:
    """Returns the codes [t] of one item by level, from those of all [B, t]."""
    return {level: rows[row] for level, rows in codes.items()}


def decode_track(
    model: Model, request: Request, codes: Mapping[int, np.ndarray], level: int
) -> np.ndarray:
    """Decodes a level to float32 [time, 1]; a loop wraps around.

    Args:
      codes: [t] by level; those of the top level, if there are any, may improve the sound of finer
        ones (`VQVAE.match_sound`).
    """
    samples = request.count_samples(model.sample_rate)
    if request.loop:
        assert samples is not None
        return decode_loop(model.codec, codes, level, samples)
    return decode_level(model.codec, codes, level)[:samples]


def describe_track(model: Model, plan: TrackPlan) -> dict[str, Any]:
    """Returns the meta.json of a track before it is sampled."""
    request, initial_state = plan.request, plan.initial_state
    return {
        "seed": request.seed,
        "item": plan.item,
        "mode": request.mode,
        "artist": request.artist,
        "genre": request.genre,
        "lyrics": request.lyrics or None,
        "sample_rate": model.sample_rate,
        "hops": list(model.hops),
        "unit": model.codec.config.unit,
        "seconds": round(initial_state.seconds(model), 6),
        "total_seconds": request.total_seconds,
        "offset_seconds": request.offset_seconds,
        **{
            setting: _list_by_level(request, setting, initial_state.levels) for setting in PER_LEVEL
        },
        "schedule": request.schedule,
        "guided_labels": list(request.guided_labels),
        "grid": initial_state.grid.describe(),
        "loop": request.loop,
        "closed_levels": [],
        "model": model.hash,
        "vqvae": model.codec.identity,
        "prompt_seconds": round(initial_state.prompt_seconds, 6),
        "reroll": request.reroll,
        "gain": {},
        "timings": {},
        "seconds_per_second_of_audio": None,
        "seconds_to_first_audio": None,
    }


def _list_by_level(request: Request, setting: str, levels: Sequence[int]) -> dict[str, float]:
    """Returns a setting of a request as {"level_2": number}, `DEFAULTS` where it has none."""
    numbers = getattr(request, setting)
    return {f"level_{level}": numbers.get(level, DEFAULTS[setting]) for level in levels}
