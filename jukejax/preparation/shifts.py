"""Copies of training tracks at another pitch or tempo, with labels that follow the change.

Both are changed by librosa's phase vocoder, which softens the onsets of drums.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jukejax.data import audio
from jukejax.data.dataset_file import Track
from jukejax.data.grid import FASTEST, SLOWEST, transpose_key
from jukejax.data.sections import scale_sections

MOST_SEMITONES = 12
SLOWEST_FACTOR, FASTEST_FACTOR = 0.5, 2.0
LONGEST = 20 * 60  # seconds of a track that is copied: its spectrogram is held in memory


@dataclass(frozen=True)
class Shift:
    """A change of pitch or tempo.

    Attributes:
      semitones: up, at the same tempo.
      tempo: factor of the tempo, at the same pitch.
    """

    semitones: int = 0
    tempo: float = 1.0

    def change_sound(self, sound: np.ndarray) -> np.ndarray:
        """Returns the changed sound, int16 [time, channels] at 44.1 kHz.

        It is attenuated where it would exceed full scale.
        """
        import librosa

        samples = audio.to_float(np.asarray(sound)).T  # librosa: [channels, time]
        if self.tempo != 1.0:
            samples = librosa.effects.time_stretch(samples, rate=self.tempo)
        if self.semitones:
            samples = librosa.effects.pitch_shift(
                samples, sr=audio.SAMPLE_RATE, n_steps=self.semitones
            )
        peak = float(np.abs(samples).max(initial=0.0))
        return audio.to_int16(samples.T / max(peak, 1.0))

    def change_labels(self, track: Track) -> Track:
        """Returns the labels of the changed sound; a tempo out of range becomes unknown."""
        bpm = None if track.bpm is None else track.bpm * self.tempo
        if bpm is not None and not SLOWEST <= bpm <= FASTEST:
            bpm = None
        downbeat = None if track.first_downbeat is None else track.first_downbeat / self.tempo
        sign = f"{self.semitones:+d} semitones" if self.semitones else f"tempo x {self.tempo:g}"
        return replace(
            track,
            name=f"{track.name} ({sign})",
            bpm=bpm,
            first_downbeat=None if bpm is None else downbeat,
            key=None if track.key is None else transpose_key(track.key, self.semitones),
            sections=scale_sections(track.sections, 1 / self.tempo),
            lyric_times=tuple((index, time / self.tempo) for index, time in track.lyric_times),
            pitch_shift=self.semitones,
            tempo_factor=self.tempo,
        )


def parse_shifts(pitches: Sequence[str], tempos: Sequence[str]) -> tuple[Shift, ...]:
    """Parses --aug_pitch and --aug_tempo: a copy for each of their numbers.

    Raises:
      ValueError: one is no number, out of range, no change, or given twice.
    """
    shifts = [Shift(semitones=_parse_semitones(text)) for text in pitches]
    shifts += [Shift(tempo=_parse_tempo(text)) for text in tempos]
    if len(set(shifts)) < len(shifts):
        raise ValueError("--aug_pitch or --aug_tempo has a number twice; give each once")
    return tuple(shifts)


def _parse_semitones(text: str) -> int:
    try:
        semitones = int(text)
    except ValueError:
        semitones = 0
    if not 1 <= abs(semitones) <= MOST_SEMITONES:
        raise ValueError(
            f"--aug_pitch={text} must be whole semitones, such as -2,2: 1 to {MOST_SEMITONES} up "
            "or down"
        )
    return semitones


def _parse_tempo(text: str) -> float:
    try:
        tempo = float(text)
    except ValueError:
        tempo = 0.0
    if not SLOWEST_FACTOR <= tempo <= FASTEST_FACTOR or tempo == 1.0:
        raise ValueError(
            f"--aug_tempo={text} must be factors of the tempo, such as 0.96,1.04: "
            f"{SLOWEST_FACTOR:g} to {FASTEST_FACTOR:g}, and not 1"
        )
    return tempo
