"""The sections of a track to sample: requested, those of its source, or drawn."""

from jukejax.data import sections
from jukejax.data.grid import Grid
from jukejax.inference.loaded_model import Model
from jukejax.sampling.initial_state import InitialState
from jukejax.sampling.request import AUTO, Request


def add_sections(
    model: Model, request: Request, initial_state: InitialState, item: int
) -> InitialState:
    """Returns the initial state of a track with its sections.

    Sections that are not requested are those of the source; what follows the source, and a new
    track, have sections that derive from the seed and the number of the track, if the model knows
    sections, and the tempo is known.

    Args:
      item: number of the track.

    Raises:
      ValueError: sections are requested, and the tempo is unknown.
    """
    grid = initial_state.grid
    if request.sections == AUTO:
        has_bars = grid.bpm is not None and grid.first_downbeat is not None
        if has_bars and _knows_sections(model, initial_state):
            grid = _add_drawn_sections(model, request, initial_state, item)
    elif request.sections:
        if grid.bpm is None or grid.first_downbeat is None:
            raise ValueError(f"--sections={request.sections} are in bars; add --bpm")
        plan = sections.parse_plan(request.sections)
        grid = _place(grid, plan, grid.first_downbeat, model.sample_rate)
    else:
        grid = grid.with_sections(())
    labels = {level: each._replace(grid=grid) for level, each in initial_state.labels.items()}
    return initial_state._replace(grid=grid, labels=labels)


def _knows_sections(model: Model, initial_state: InitialState) -> bool:
    configs = (model.read_config(level).labels for level in initial_state.levels)
    return any(config is not None and config.num_sections for config in configs)


def _add_drawn_sections(
    model: Model, request: Request, initial_state: InitialState, item: int
) -> Grid:
    """Returns the grid with drawn sections, from the end of the source on if that has sections."""
    grid, rate = initial_state.grid, model.sample_rate
    if grid.sections and request.mode != "continue":
        return grid
    assert grid.first_downbeat is not None
    bar = grid.bar_samples(rate)
    start = -request.offset_seconds * rate  # of the piece
    seconds = request.total_seconds or request.offset_seconds + initial_state.seconds(model)
    first = grid.first_downbeat + bar * round((start - grid.first_downbeat) / bar)
    bars = round((start + seconds * rate - first) / bar)
    plan = sections.draw_plan(bars, (request.seed, item))
    drawn = _place(grid, plan, first, rate)
    if not grid.sections:
        return drawn
    place = initial_state.prompt_seconds * rate
    return grid.with_sections(sections.join_sections(grid.sections, drawn.sections, place))


def _place(grid: Grid, plan: sections.Plan, first: float, sample_rate: int) -> Grid:
    return grid.with_sections(sections.place_plan(plan, first, grid.bar_samples(sample_rate)))
