"""What is measured of one track by itself: level, faults, rhythm, and how it sounds on average."""

from dataclasses import dataclass, field

import numpy as np

from jukejax.analysis import distribution, fidelity, loudness, rhythm
from jukejax.data.audio import SAMPLE_RATE

PIECE_SECONDS = 10.0  # of the pieces whose embeddings are compared


@dataclass(frozen=True)
class Measured:
    """A track's figures, and what pictures and distances are made of.

    Attributes:
      seconds: its length.
      figures: by name; None where there is nothing to measure.
      tempo: seconds and BPM of the tempo over 16 beats, [n] each.
      spectrum: mean level of each mel band in dB, float64 [mels].
      statistics: `distribution.mel_statistics` of each piece, float64 [pieces, E].
    """

    name: str
    seconds: float
    figures: dict[str, float | None]
    tempo: tuple[np.ndarray, np.ndarray] = field(repr=False)
    spectrum: np.ndarray = field(repr=False)
    statistics: np.ndarray = field(repr=False)


def track_figures(sound: np.ndarray) -> dict[str, float | None]:
    """Level, faults and rhythm of a sound, float32 [time, channels] at 44.1 kHz: quick enough to
    be asked while a model trains. Names: `loudness.figures` and `rhythm.Rhythm.table`."""
    return loudness.figures(sound) | rhythm.measure(sound, SAMPLE_RATE).table()


def measure(name: str, sound: np.ndarray) -> Measured:
    """Everything about a track, float32 [time, channels] at 44.1 kHz, a second or longer."""
    if len(sound) < SAMPLE_RATE:
        raise ValueError(
            f"{name} has {len(sound) / SAMPLE_RATE:.2f} s of sound; a second is the least that can "
            "be measured"
        )
    found = rhythm.measure(sound, SAMPLE_RATE)
    mel = fidelity.log_mel(sound.mean(axis=1), SAMPLE_RATE)
    return Measured(
        name,
        len(sound) / SAMPLE_RATE,
        loudness.figures(sound) | found.table(),
        found.local,
        mel.mean(axis=0),
        np.stack([distribution.mel_statistics(piece) for piece in pieces(mel)]),
    )


def pieces(mel: np.ndarray) -> list[np.ndarray]:
    """Frames [F, mels] in pieces of `PIECE_SECONDS`, the rest left off; a short sound is one."""
    size = round(PIECE_SECONDS * SAMPLE_RATE / fidelity.MEL_HOP)
    count = len(mel) // size
    return [mel[i * size : (i + 1) * size] for i in range(count)] or [mel]
