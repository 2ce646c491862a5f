"""The grid of the tracks to sample: requested, that of the source, or estimated from the prompt."""

import sys
from collections.abc import Sequence

from jukejax.data.grid import Grid, merge_grids
from jukejax.inference.loaded_model import Model
from jukejax.sampling.folder import read_grid
from jukejax.sampling.request import Request


def find_grid(model: Model, request: Request, levels: Sequence[int]) -> Grid:
    """Returns the grid of the tracks; prints a line for values that the model does not know.

    Bar 1 of a new track begins at its first sample.

    Raises:
      ValueError: --guidance is for models with labels.
    """
    downbeat = None if request.first_beat is None else request.first_beat * model.sample_rate
    grid = Grid(request.bpm, downbeat, request.key)
    if request.codes is not None:
        grid = merge_grids(grid, read_grid(request.codes))
    if request.prompt is None and grid.first_downbeat is None and grid.bpm is not None:
        grid = Grid(grid.bpm, 0.0, grid.key)
    _check_labels(model, request, levels)
    return grid


def _check_labels(model: Model, request: Request, levels: Sequence[int]) -> None:
    """Checks the requested values against the labels of the priors."""
    configs = {level: model.read_config(level).labels for level in levels}
    labels = [config for config in configs.values() if config is not None]
    for flag, value, is_known in (
        ("bpm", request.bpm, any(config.tempo_bins or config.bar_bins for config in labels)),
        ("key", request.key, any(config.keys for config in labels)),
    ):
        if value is not None and not is_known:
            print(
                f"{model.folder} was trained without this label: --{flag} does not change how it "
                "plays",
                file=sys.stderr,
            )
    for level, config in configs.items():
        if request.guidance.get(level, 1) != 1 and config is None:
            raise ValueError(
                f"--guidance={request.guidance[level]:g}: level {level} of {model.folder} has no "
                "labels; give 1 for it"
            )
