"""What the player is sent of a take: sound, peaks, bars, links; all of it data, no markup."""

import functools
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jukejax.common import files
from jukejax.studio.job import FAILED, STOPPED
from jukejax.studio.names import make_slug
from jukejax.studio.pictures import compute_peaks, draw_mel
from jukejax.studio.project import Project
from jukejax.studio.studio import Studio
from jukejax.studio.take_files import TakeFiles

MEDIA = "/media"  # the addresses below are MEDIA/PROJECT/TAKE/NAME
PREVIEWS = "/previews"  # PREVIEWS/PROJECT/MODEL.wav
SOUND_NAMES = (*(f"level_{level}.wav" for level in range(16)), "stream.wav")
FILE_NAMES = (*SOUND_NAMES, "codes.npz")
MEL_NAME, VIEW_NAME = "mel.png", "view.json"


def media_address(project: str, take: str, name: str, version: object = "") -> str:
    """Returns the address of a file of a take."""
    address = f"{MEDIA}/{quote(project)}/{quote(take)}/{quote(name)}"
    return f"{address}?v={version}" if version else address


def preview_address(project: str, model: str, step: int) -> str:
    """Returns the address of the preview of a model in training."""
    return f"{PREVIEWS}/{quote(project)}/{quote(model)}.wav?v={step}"


def describe_take(studio: Studio, slug: str, take: str) -> dict[str, Any]:
    """Returns what the player shows of a take.

    Raises:
      ValueError: there is no such take.
    """
    project = studio.open_project(slug)
    identifier, entry = project.read().find_take(take)
    sound = studio.read_files(project, identifier)
    view: dict[str, Any] = {"name": entry.name, "seconds": 0.0, "peaks": [], "source": ""}
    version = ""
    if sound.sound is not None:
        status = sound.sound.stat()
        version = f"{status.st_mtime_ns:x}-{status.st_size:x}"
        view["seconds"] = round(sound.sound_seconds, 4)
        view["peaks"] = _read_peaks(sound.sound, version)
        view["source"] = media_address(slug, identifier, sound.sound.name, version)
    job = studio.queue.find_active(slug, identifier)
    if sound.levels and sound.sound is not None:
        view["mel"] = media_address(slug, identifier, MEL_NAME, version)
        view["download"] = media_address(slug, identifier, sound.sound.name) + "?download=1"
        view["codes"] = media_address(slug, identifier, "codes.npz") + "?download=1"
    view["length"] = max(sound.seconds or 0.0, view["seconds"]) or 1.0
    view["bars"] = [round(start, 4) for start in sound.bars]
    view["num_bars"] = len(count_whole_bars(sound))
    view["is_active"] = job is not None
    view["status"] = describe_status(studio, project, identifier, sound)
    return view


def is_in_trash(studio: Studio, slug: str, take: str) -> bool:
    """Returns true for a take that is deleted, and may come back.

    Raises:
      ValueError: there is no such project.
    """
    takes = studio.open_project(slug).read().takes
    return take in takes and takes[take].is_deleted


@functools.lru_cache(maxsize=64)
def _read_peaks(path: Path, version: str) -> list[list[float]]:
    """Returns the peaks of a version of a sound, which pages ask for every other second."""
    del version
    return compute_peaks(path)


def count_whole_bars(take: TakeFiles) -> list[float]:
    """Returns the starts of the bars that the take holds, the last one perhaps in part."""
    return [start for start in take.bars if start < (take.seconds or 0.0) - 0.05]


def describe_status(studio: Studio, project: Project, take: str, sound: TakeFiles) -> str:
    """Returns the state of a take in words: levels, length, and its job."""
    parts = []
    if sound.levels:
        parts.append(f"level {min(sound.levels)}, {sound.sound_seconds:.1f} s")
        if sound.grid.bpm:
            bars = len(count_whole_bars(sound))
            parts.append(f"{bars} bars at {sound.grid.bpm:g} BPM")
        if sound.grid.key:
            parts.append(sound.grid.key)
    jobs = [
        job
        for job in studio.queue.list_jobs()
        if (job.project, job.subject) == (project.folder.name, take)
    ]
    last = jobs[-1] if jobs else None
    active = studio.queue.find_active(project.folder.name, take)
    if active is not None:
        parts.append(f"{active.verb} is {active.state}")
    elif last is not None and last.state in (STOPPED, FAILED):
        parts.append(f"{last.verb} {last.state}: {last.message}")
    return " · ".join(parts) or "nothing yet"


def find_media(studio: Studio, slug: str, take: str, name: str) -> Path:
    """Returns the path of a file of a take for download or playback.

    Raises:
      ValueError: there is no such file.
    """
    project = studio.open_project(slug)
    identifier, _ = project.read().find_take(take)
    path = studio.read_files(project, identifier).item / name
    if name not in FILE_NAMES or not path.is_file() or path.is_symlink():
        raise ValueError("there is no such file")
    return path


def find_mel(studio: Studio, slug: str, take: str) -> Path:
    """Returns the picture of the mel spectrogram of a take, drawn anew if the sound has changed.

    Raises:
      ValueError: there is no finished sound.
    """
    project = studio.open_project(slug)
    identifier, _ = project.read().find_take(take)
    sound = studio.read_files(project, identifier)
    if not sound.levels or sound.sound is None:
        raise ValueError("there is no such file")
    path = project.judged_folder(identifier) / MEL_NAME
    if not path.is_file() or path.stat().st_mtime < sound.sound.stat().st_mtime:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, draw_mel(sound.sound), shared=True)
    return path


def make_download_name(studio: Studio, slug: str, take: str, path: Path) -> str:
    """Returns the name under which a browser stores a file of a take."""
    name = studio.open_project(slug).read().takes[take].name
    return f"{take}-{make_slug(name)}-{path.stem}{path.suffix}"
