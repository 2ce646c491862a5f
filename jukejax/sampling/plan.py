"""Plans of tracks, and their division into batches.

Dimensions: B items, t codes of a level.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jukejax.inference.loaded_model import Model
from jukejax.sampling.folder import Codes
from jukejax.sampling.initial_state import InitialState, inherit_labels, read_initial_state
from jukejax.sampling.request import Request
from jukejax.sampling.track_sections import add_sections


@dataclass(frozen=True, eq=False)
class TrackPlan:
    """A track to sample.

    Attributes:
      request: which may be that of other tracks too.
      initial_state: its codes and labels before sampling.
      item: its number among the tracks of the request, from which its noise derives.
    """

    request: Request
    initial_state: InitialState
    item: int


def plan_tracks(model: Model, request: Request) -> list[TrackPlan]:
    """Returns the plan of each track of a request.

    Raises:
      ValueError: the request does not fit the model.
    """
    request = inherit_labels(model, request)
    initial_state = read_initial_state(model, request)
    return [
        TrackPlan(request, add_sections(model, request, initial_state, item), item)
        for item in request.items
    ]


def stack_codes(items: Sequence[Codes]) -> Codes:
    """Returns the codes of tracks of one shape, {level: [t]} each, as {level: [B, t]}."""
    return {level: np.stack([codes[level] for codes in items]) for level in items[0]}


def find_shape(plan: TrackPlan) -> tuple[Any, ...]:
    """Returns what tracks need to have in common to be sampled in one batch.

    Labels, seeds, temperatures, weights of guidance and guided labels may differ, and so may modes
    that start from as many codes.
    """
    request, state = plan.request, plan.initial_state
    lengths = sorted((level, len(codes)) for level, codes in state.codes.items())
    selects = request.loop or request.mode == "reroll"
    return (
        tuple(state.levels),
        tuple(sorted(state.totals.items())),
        tuple(lengths),
        tuple(request.hop_fraction[level] for level in state.levels),
        tuple(request.guidance.get(level, 1.0) != 1 for level in state.levels),
        tuple(request.find_logits_filter(level) for level in state.levels),
        (request.schedule, request.memory_fraction, request.stream),
        request.reroll,
        (request.candidates, state.grid.bpm if request.loop else None) if selects else None,
    )


def group_by_shape(plans: Iterable[tuple[int, TrackPlan]]) -> list[list[int]]:
    """Groups numbered plans by their shape; returns the numbers of each group."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, plan in plans:
        groups.setdefault(find_shape(plan), []).append(number)
    return list(groups.values())
