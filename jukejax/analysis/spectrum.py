"""Mean spectrum of a sound: level by band, and steady tones at multiples of a code rate."""

import math

import numpy as np
import scipy.signal

from jukejax.data.audio import SAMPLE_RATE

BANDS = {  # name of the figure: edges in Hz
    "bass_db": (0.0, 150.0),
    "middle_db": (150.0, 2000.0),
    "presence_db": (2000.0, 6000.0),
    "treble_db": (6000.0, 16_000.0),
}
SILENCE_DB = -120.0
CODE_RATE = SAMPLE_RATE / 128  # Hz, of top-level codes; those of finer levels are multiples
_WINDOW = 16_384  # samples of a spectrum: bins of 2.7 Hz
_LOWEST_TONE, _HIGHEST_TONE = 2000.0, 16_000.0  # Hz, above most notes
_NEAR, _FAR = 6, 40  # bins from a tone to its surroundings, and to their ends


def measure_spectrum(sound: np.ndarray) -> dict[str, float | None]:
    """Measures the level in each band and the loudest tone of a decoder.

    Decoders that overlap frames leave tones at multiples of the code rate in sounds of all pitches.

    Args:
      sound: float32 [time, channels] at 44.1 kHz.

    Returns:
      {a name of `BANDS`: RMS level in dB of full scale, "code_tone_db": largest level of a multiple
      of `CODE_RATE` over its surroundings in dB, or None for sounds shorter than a window}.
    """
    mono = np.asarray(sound, np.float64).mean(axis=1)
    window = min(_WINDOW, len(mono))
    frequencies, power = scipy.signal.welch(mono, SAMPLE_RATE, nperseg=window)
    step = frequencies[1]
    figures: dict[str, float | None] = {}
    for name, (low, high) in BANDS.items():
        inside = (frequencies >= low) & (frequencies < high)
        energy = float(power[inside].sum()) * step
        figures[name] = max(10 * math.log10(energy), SILENCE_DB) if energy > 0 else SILENCE_DB
    figures["code_tone_db"] = _measure_code_tone(power, step) if window == _WINDOW else None
    return figures


def _measure_code_tone(power: np.ndarray, step: float) -> float:
    levels = 10 * np.log10(power + 1e-20)
    first = math.ceil(_LOWEST_TONE / CODE_RATE)
    heights = []
    for number in range(first, int(_HIGHEST_TONE / CODE_RATE) + 1):
        at = round(number * CODE_RATE / step)
        below, above = levels[at - _FAR : at - _NEAR + 1], levels[at + _NEAR : at + _FAR + 1]
        surroundings = np.median(np.concatenate([below, above]))
        heights.append(levels[at - 1 : at + 2].max() - surroundings)
    return float(max(heights))
