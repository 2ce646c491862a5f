"""Files of finished tracks for use in other programs, beside the folders of their items.

OUTPUT/take_000_124bpm_Am_seed0.flac                  the finest level, with tags
OUTPUT/take_000_124bpm_Am_seed0_stem_vocals.flac      with --stems, and stem_accompaniment
OUTPUT/take_000_124bpm_Am_seed0_click.wav             with --click
OUTPUT/take_000_124bpm_Am_seed0.mid                   with --midi

A take is decoded from its codes again, not copied from the 16 bits of its WAV. meta.json describes
each under `takes`, by the name of its file. Takes are no part of the settings of a folder: the same
command with another --format adds takes to a finished folder. A take that is written again at
another level loses stems that are not, as they would not sum to it.
"""

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from jukejax import __version__
from jukejax.analysis.loudness import measure_loudness, true_peak_db
from jukejax.common.json_values import join_text
from jukejax.data import audio
from jukejax.data.grid import Grid, format_key
from jukejax.data.sound_files import FileFormat, Tags, format_bpm, write_sound
from jukejax.sampling import take_stems
from jukejax.sampling.folder import SampleFolder, parse_grid
from jukejax.sampling.tempo_map import render_click, write_tempo_map

PEAK_DB = -1.0  # dBTP, highest true peak of a take with a target of loudness
LOUDEST, SOFTEST = -5.0, -40.0  # LUFS, targets
_MISSED = 0.1  # LU, smallest reported distance from the target
_ATTEMPTS = 6  # of writing a lossy file at the right gain
_STEP_DB = 0.02  # distance of planned peaks from the highest; rounding of samples adds less
_TOLERANCE_DB = 0.03  # of the loudness of a lossy file
_COMPANIONS = ("stems", "click", "midi")  # files beside the take itself, by their settings


@dataclass(frozen=True)
class TakeSettings:
    """Which files a take consists of.

    Attributes:
      lufs: target of the loudness; None: as the model plays, attenuated only if it would clip.
      stems, click, midi: whether these files are written.
    """

    file_format: FileFormat
    lufs: float | None = None
    stems: bool = False
    click: bool = False
    midi: bool = False

    def __post_init__(self) -> None:
        if self.lufs is not None and not SOFTEST <= self.lufs <= LOUDEST:
            raise ValueError(
                f"--lufs={self.lufs:g} must be {SOFTEST:g} to {LOUDEST:g}, such as -14"
            )

    def check(self, grid: Grid) -> None:
        """Checks that the takes of tracks with this grid can be written.

        Raises:
          ValueError: a click needs a tempo, or the weights of the separator are missing.
        """
        for name in ("click", "midi"):
            if getattr(self, name) and (grid.bpm is None or grid.first_downbeat is None):
                raise ValueError(
                    f"--{name} needs the tempo and bars of the track: add --bpm (with --prompt or "
                    "--codes also --first_beat)"
                )
        if self.stems:
            take_stems.find_separator()


class TakeWriter:
    """Writes the takes of a sample folder whose levels are finished."""

    def __init__(self, folder: SampleFolder, settings: TakeSettings, model_name: str):
        """Prepares the writer; `model_name` is that in the tags."""
        self._folder, self._settings, self._model_name = folder, settings, model_name

    def write_missing(self, decode: Callable[[int], np.ndarray], sample_rate: int) -> None:
        """Writes the takes of the items that lack them.

        Args:
          decode: returns the finest level of a row, float32 [time, channels].
        """
        for row in self._folder.rows:
            meta = self._folder.read_meta(row)
            name = name_take(meta, self._folder.numbers[row])
            path = self._folder.output / f"{name}.{self._settings.file_format.name}"
            takes = meta.get("takes", {})
            earlier, request = takes.get(path.name), self._describe_request()
            if not self._is_written(earlier, request):
                take = request | self._write(path, decode(row), sample_rate, meta, row)
                if earlier is not None:
                    take = self._keep_companions(earlier, take)
                self._folder.update_meta(row, takes=takes | {path.name: take})

    def _describe_request(self) -> dict[str, Any]:
        values = dataclasses.asdict(self._settings)
        file_format = values.pop("file_format")
        return {"format": file_format["name"], "bits": file_format["bits"]} | values

    def _is_written(self, take: dict[str, Any] | None, request: Mapping[str, Any]) -> bool:
        return (
            take is not None
            and all(
                take.get(name) == value or (name in _COMPANIONS and not value)
                for name, value in request.items()
            )
            and all((self._folder.output / name).is_file() for name in take["files"])
        )

    def _keep_companions(
        self, earlier: Mapping[str, Any], take: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Returns a take with the files of its earlier version that belong to it too.

        Stems of another level, or of other bits, are removed.
        """
        has_changed = any(earlier.get(name) != take[name] for name in ("gain_db", "bits"))
        files = list(take["files"])
        companions = {name: take[name] or bool(earlier.get(name)) for name in _COMPANIONS}
        for name in earlier["files"]:
            if name in files:
                continue
            if has_changed and "_stem_" in name:
                (self._folder.output / name).unlink(missing_ok=True)
                companions["stems"] = False
            else:
                files.append(name)
        return {**take, **companions, "files": files}

    def _write(
        self, path: Path, sound: np.ndarray, sample_rate: int, meta: dict[str, Any], row: int
    ) -> dict[str, Any]:
        """Writes the files of one take; returns their names and measurements for meta.json."""
        settings, grid = self._settings, parse_grid(meta)
        tags = make_tags(meta, grid, self._model_name, self._folder.numbers[row])
        paths = [path]
        sound, level = write_at_level(path, sound, settings, tags, sample_rate)
        if settings.stems:
            paths += take_stems.write_stems(path, sound, settings.file_format, tags, sample_rate)
        if settings.click:
            paths.append(path.with_name(f"{path.stem}_click.wav"))
            click = render_click(grid, len(sound), sample_rate)
            click_tags = dataclasses.replace(tags, title=f"{tags.title} · click")
            write_sound(paths[-1], click, FileFormat(), click_tags, sample_rate)
        if settings.midi:
            paths.append(path.with_suffix(".mid"))
            write_tempo_map(paths[-1], grid, len(sound), sample_rate, tags.title)
        return level | {"files": [path.name for path in paths]}


def name_take(meta: Mapping[str, Any], number: int) -> str:
    """Returns the name of the files of an item, which sorts by the number of its folder."""
    grid = parse_grid(meta)
    parts = [f"take_{number:03d}"]
    if grid.bpm is not None:
        parts.append(f"{format_bpm(grid.bpm)}bpm")
    if grid.key:
        parts.append(format_key(grid.key))
    return "_".join([*parts, f"seed{meta['seed']}"])


def make_tags(meta: Mapping[str, Any], grid: Grid, model_name: str, number: int) -> Tags:
    """Returns the tags of a take; `number` is that of its folder.

    NOTE: the artist is jukejax. The artist of --artist is a label of the model, who has not played
    this; it is named in the comment.
    """
    facts = [f"Take {number}"]
    facts += [f"{format_bpm(grid.bpm)} BPM"] if grid.bpm is not None else []
    facts += [grid.key] if grid.key else []
    labels = [
        f"label {name}: {join_text(meta[name])}" for name in ("artist", "genre") if meta.get(name)
    ]
    program = f"jukejax {__version__}"
    origin = f"Made by a machine: {program}, model {model_name}, mode {meta['mode']}"
    return Tags(
        title=" · ".join(facts),
        artist="jukejax",
        comment="; ".join([origin, f"seed {meta['seed']}, item {meta['item']}", *labels]),
        encoder=program,
        genre=join_text(meta.get("genre")),
        bpm=grid.bpm,
        key=format_key(grid.key) if grid.key else "",
        extra={"seed": str(meta["seed"]), "model": model_name, "model_hash": meta["model"]},
    )


# -- Level ---------------------------------------------------------------------------------------


def write_at_level(
    path: Path, sound: np.ndarray, settings: TakeSettings, tags: Tags, sample_rate: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Writes a sound at the target of its loudness, as far as its peaks allow.

    There is no limiter: the gain is the same for the whole sound. A lossy file is decoded, and
    written again with a better gain while its loudness or its peak differ.

    Returns:
      The sound with its gain, and the measurements of the file for meta.json. A line on stderr
      reports a target that is not reached.
    """
    resampled = sound
    if sample_rate != audio.SAMPLE_RATE:
        resampled = soxr.resample(sound, sample_rate, audio.SAMPLE_RATE)
    gain_db = _find_correction(resampled, settings.lufs)
    for attempt in range(_ATTEMPTS):
        louder = sound * np.float32(10 ** (gain_db / 20))
        write_sound(path, louder, settings.file_format, tags, sample_rate)
        written = audio.load_audio(path, repair=False).samples
        correction = _find_correction(written, settings.lufs)
        if settings.file_format.is_lossless:
            break
        # A peak may not follow the gain: only the first two attempts may be too soft.
        if correction > -_STEP_DB and (correction < _TOLERANCE_DB or attempt >= 2):
            break
        gain_db += correction
    loudness = measure_loudness(written)
    measured = {
        "gain_db": round(gain_db, 3),
        "loudness_lufs": None if loudness is None else round(loudness, 2),
        "true_peak_db": round(true_peak_db(written), 2),
    }
    if settings.lufs is not None:
        measured["missed_lufs"] = _report_missed(path, loudness, settings.lufs)
    return louder, measured


def _find_correction(sound: np.ndarray, lufs: float | None) -> float:
    """Returns the gain in dB that leads to the target, or as near as the peak allows.

    Peaks are limited to `_STEP_DB` below the highest allowed one, so that a file whose correction
    is above -`_STEP_DB` does not exceed that.
    """
    if lufs is None:
        peak_db = 20 * math.log10(max(float(np.abs(sound).max(initial=0.0)), 1e-6))
        return -_STEP_DB - peak_db if peak_db > 0 else 0.0
    headroom = PEAK_DB - _STEP_DB - true_peak_db(sound)
    loudness = measure_loudness(sound)
    return min(0.0 if loudness is None else lufs - loudness, headroom)


def _report_missed(path: Path, loudness: float | None, lufs: float) -> float | None:
    """Returns by how many LU a take is softer than the target, and prints it; None if unknown."""
    if loudness is None:
        print(
            f"{path.name} is too short or too soft for a loudness: --lufs only limits its peak",
            file=sys.stderr,
        )
        return None
    missed = max(round(lufs - loudness, 2), 0.0)
    if missed < _MISSED:
        return 0.0
    print(
        f"{path.name} has {loudness:.1f} LUFS, {missed:.1f} LU under --lufs={lufs:g}: a larger "
        f"gain would lift its peak above {PEAK_DB:g} dBTP",
        file=sys.stderr,
    )
    return missed
