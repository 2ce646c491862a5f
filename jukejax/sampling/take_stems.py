"""Stems of takes: vocals and accompaniment, whose sum is the take."""

import dataclasses
from pathlib import Path

import numpy as np
import soxr

from jukejax.data import audio
from jukejax.data.sound_files import FileFormat, Tags, write_sound
from jukejax.preparation import separators

STEMS = ("vocals", "accompaniment")


def find_separator() -> separators.Separator:
    """Returns Spleeter.

    Raises:
      ValueError: its weights are missing.
    """
    if separators.find_weights() is None:
        raise ValueError(
            "--stems needs the weights of Deezer's separator: run `make spleeter-weights` (73 MB, "
            f"once), or set ${separators.VARIABLE} to what convert --from=spleeter wrote"
        )
    return separators.make_separator("spleeter")


def write_stems(
    path: Path, sound: np.ndarray, file_format: FileFormat, tags: Tags, sample_rate: int
) -> list[Path]:
    """Writes the stems of a take at 44.1 kHz, whose sum is the take; returns their paths.

    If a stem has samples above full scale, all stems are attenuated equally.
    """
    from jukejax.preparation import spleeter

    separator = find_separator()
    if sample_rate != audio.SAMPLE_RATE:
        sound = soxr.resample(sound, sample_rate, audio.SAMPLE_RATE)
    stems = spleeter.load_spleeter(separator.weights, separator.hash)(sound, stems=STEMS)
    peak = max(float(np.abs(stem).max(initial=0.0)) for stem in stems.values())
    gain = min(1.0, 1.0 / max(peak, 1e-6))
    paths = []
    for name, stem in stems.items():
        paths.append(path.with_name(f"{path.stem}_stem_{name}{path.suffix}"))
        stem_tags = dataclasses.replace(tags, title=f"{tags.title} · {name}")
        write_sound(paths[-1], stem * np.float32(gain), file_format, stem_tags)
    return paths
