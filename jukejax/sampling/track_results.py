"""What is written of a sampled track: its sound, and its entries of meta.json.

Dimensions: B items, t codes of a level.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jukejax.inference.loaded_model import Model
from jukejax.inference.matched_decoding import decode_level
from jukejax.sampling.loop import decode_loop
from jukejax.sampling.plan import TrackPlan
from jukejax.sampling.request import Request

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
    names = {level: f"level_{level}" for level in initial_state.levels}
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
        "temperature": {name: request.temperature[k] for k, name in names.items()},
        "hop_fraction": {name: request.hop_fraction[k] for k, name in names.items()},
        "top_k": {name: request.top_k.get(k, 0) for k, name in names.items()},
        "top_p": {name: request.top_p.get(k, 0.0) for k, name in names.items()},
        "min_p": {name: request.min_p.get(k, 0.0) for k, name in names.items()},
        "schedule": request.schedule,
        "guidance": {name: request.guidance.get(k, 1.0) for k, name in names.items()},
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
