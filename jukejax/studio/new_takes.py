"""New takes, before they are queued: their names, and the arguments of `sample`."""

from jukejax.studio import composing
from jukejax.studio.composing import MAX_TAKES, Composition, Settings
from jukejax.studio.models import ModelInfo
from jukejax.studio.names import MAX_NAME, check_number, clean_name
from jukejax.studio.project import Project
from jukejax.studio.state import Take


def compose_takes(
    project: Project,
    model: ModelInfo,
    composition: Composition,
    settings: Settings,
    *,
    count: object,
    name: object,
    recording: object,
    prompt_seconds: float,
) -> list[Take]:
    """Returns takes with consecutive seeds; see `Studio.compose`."""
    number = int(check_number(count, "the number of takes", 1, MAX_TAKES, is_whole=True))
    first = int(check_number(settings.seed, "the seed", 0, 2**32 - MAX_TAKES, is_whole=True))
    title = clean_name(name) if name else ""
    source = project.recording_path(recording) if recording else None
    mode = "new" if source is None else "from a recording"
    takes = []
    for seed in range(first, first + number):
        if source is None:
            arguments = composing.compose(model, composition, settings, seed)
        else:
            arguments = composing.compose_from_recording(
                model,
                composition,
                settings,
                seed,
                recording=source,
                prompt_seconds=prompt_seconds,
            )
        label = title or f"Seed {seed}"
        label = f"{label[: MAX_NAME - 12]} {seed}" if title and number > 1 else label
        takes.append(
            Take(name=label, mode=mode, model=model.identifier, arguments=tuple(arguments))
        )
    return takes


def make_played_take(
    project: Project, model: ModelInfo, settings: Settings, recording: object
) -> Take:
    """Returns a take of a recording as the model would play it."""
    _, entry = project.read().find_entry(recording, "u")
    path = project.recording_path(recording)
    arguments = composing.play_recording(model, settings, path)
    return Take(
        name=f"{entry.name[: MAX_NAME - 20]}, as played",
        mode="recording, finer levels",
        model=model.identifier,
        arguments=tuple(arguments),
    )


def name_child(name: str, mode: str) -> str:
    """Returns the name of a take that is made from another one."""
    room = MAX_NAME - len(mode) - 2
    return f"{name[:room]}, {mode}"
