"""The grid of the tracks to sample: requested, that of the source, or estimated from the prompt."""

import dataclasses
import sys
from collections.abc import Sequence

from jukejax.data import audio
from jukejax.data.grid import Grid, is_same_tempo, merge_grids
from jukejax.inference.loaded_model import Model
from jukejax.models.label_config import list_label_names
from jukejax.sampling.folder import read_source_track
from jukejax.sampling.request import AUTO, Request


def find_grid(model: Model, request: Request, levels: Sequence[int]) -> Grid:
    """Returns the grid of the tracks; prints a line for values that the model does not know.

    Bar 1 of a new track begins at its first sample.

    Raises:
      ValueError: --guidance is for models with the labels it is for.
    """
    downbeat = None if request.first_beat is None else request.first_beat * model.sample_rate
    grid = Grid(request.bpm, downbeat, request.key)
    if request.codes is not None:
        grid = merge_grids(grid, read_source_track(request.codes).grid)
    is_complete = None not in (grid.bpm, grid.first_downbeat, grid.key)
    if request.prompt is not None and _has_grid_labels(model, levels) and not is_complete:
        grid = merge_grids(grid, _estimate_grid(request.prompt, model, request))
    elif request.prompt is None and grid.first_downbeat is None and grid.bpm is not None:
        grid = dataclasses.replace(grid, first_downbeat=0.0)
    _check_labels(model, request, levels)
    return grid


def _has_grid_labels(model: Model, levels: Sequence[int]) -> bool:
    configs = (model.read_config(level).labels for level in levels)
    return any(config is not None and config.has_grid for config in configs)


def _estimate_grid(prompt: audio.Source, model: Model, request: Request) -> Grid:
    """Estimates the grid of a prompt, and prints it; a tempo that is requested is its tempo."""
    from jukejax.analysis.tempo_grid import estimate_grid  # takes SciPy half a second to import

    with audio.open_audio(
        prompt, model.sample_rate, max_seconds=request.find_used_seconds()
    ) as sound:
        blocks = (block.mean(axis=1) for block in audio.iterate_blocks(sound))
        estimate = estimate_grid(blocks, model.sample_rate)
    if estimate.bpm is None:
        if request.bpm is None or request.first_beat is None:
            print(f"--prompt={prompt}: no steady beat is heard; give --bpm and --first_beat")
        return estimate.grid
    assert estimate.first_downbeat is not None
    print(
        f"--prompt={prompt}: {estimate.bpm:.2f} BPM, a bar begins at "
        f"{estimate.first_downbeat / model.sample_rate:.3f} s, key {estimate.key or 'unknown'}"
    )
    if request.bpm is not None and is_same_tempo(request.bpm, estimate.bpm):
        return dataclasses.replace(estimate.grid, bpm=request.bpm)
    return estimate.grid


def _check_labels(model: Model, request: Request, levels: Sequence[int]) -> None:
    """Checks the requested values against the labels of the priors."""
    configs = {level: model.read_config(level).labels for level in levels}
    labels = [config for config in configs.values() if config is not None]
    for flag, value, is_known in (
        ("bpm", request.bpm, any(config.uses_tempo for config in labels)),
        ("key", request.key, any(config.keys for config in labels)),
        (
            "sections",
            None if request.sections in ("", AUTO) else request.sections,
            any(config.num_sections for config in labels),
        ),
    ):
        if value is not None and not is_known:
            print(
                f"{model.folder} was trained without this label: --{flag} does not change how it "
                "plays",
                file=sys.stderr,
            )
    for level, config in configs.items():
        if request.guidance.get(level, 1) == 1:
            continue
        if config is None:
            raise ValueError(
                f"--guidance={request.guidance[level]:g}: level {level} of {model.folder} has no "
                "labels; give 1 for it"
            )
        known = list_label_names(config)
        if not set(known) & set(request.guided_labels):
            raise ValueError(
                f"--guided_labels={','.join(request.guided_labels)}: level {level} of "
                f"{model.folder} knows only {', '.join(known)}; give --guidance=1 for it"
            )
