"""Measurements of a single track: level, faults, rhythm, mean spectrum, mel statistics."""

from dataclasses import dataclass, field

import numpy as np

from jukejax.analysis import distribution, fidelity, loudness, rhythm, spectrum
from jukejax.data.audio import SAMPLE_RATE

SEGMENT_SECONDS = 10.0  # length of the segments whose embeddings are compared


@dataclass(frozen=True)
class TrackMeasurements:
    """The figures of a track, and data for pictures and distances.

    Attributes:
      seconds: its length.
      figures: values by name, with the numbers of beats and bars that those of rhythm are over;
        None for figures that cannot be measured.
      tempo: seconds and BPM of the tempo over 16 beats, [n] each.
      spectrum: mean level of each mel band in dB, float64 [mels].
      statistics: `distribution.mel_statistics` of each segment, float64 [segments, E].
    """

    name: str
    seconds: float
    figures: dict[str, float | None]
    tempo: tuple[np.ndarray, np.ndarray] = field(repr=False)
    spectrum: np.ndarray = field(repr=False)
    statistics: np.ndarray = field(repr=False)


def measure_sound(sound: np.ndarray) -> dict[str, float | None]:
    """Measures level, faults and rhythm of a sound; fast enough for use during training.

    Args:
      sound: float32 [time, channels] at 44.1 kHz.

    Returns:
      Figures with the names of `loudness.measure_level` and `rhythm.Rhythm.to_dict`.
    """
    return loudness.measure_level(sound) | rhythm.measure_rhythm(sound, SAMPLE_RATE).to_dict()


def measure_track(name: str, sound: np.ndarray) -> TrackMeasurements:
    """Measures all figures of a track.

    Args:
      name: for the message.
      sound: float32 [time, channels] at 44.1 kHz.

    Raises:
      ValueError: the sound is shorter than a second.
    """
    if len(sound) < SAMPLE_RATE:
        raise ValueError(
            f"{name} has {len(sound) / SAMPLE_RATE:.2f} s of sound; a second is the least that can "
            "be measured"
        )
    rhythm_figures = rhythm.measure_rhythm(sound, SAMPLE_RATE)
    level_figures = loudness.measure_level(sound) | spectrum.measure_spectrum(sound)
    mel = fidelity.log_mel(sound.mean(axis=1), SAMPLE_RATE)
    return TrackMeasurements(
        name,
        len(sound) / SAMPLE_RATE,
        level_figures | rhythm_figures.to_dict() | rhythm_figures.count_beats(),
        rhythm_figures.local,
        mel.mean(axis=0),
        np.stack([distribution.mel_statistics(segment) for segment in split_segments(mel)]),
    )


def split_segments(mel: np.ndarray) -> list[np.ndarray]:
    """Splits frames [F, mels] into segments of `SEGMENT_SECONDS`, without an incomplete last one.

    A shorter sound is one segment.
    """
    size = round(SEGMENT_SECONDS * SAMPLE_RATE / fidelity.MEL_HOP)
    count = len(mel) // size
    return [mel[i * size : (i + 1) * size] for i in range(count)] or [mel]
