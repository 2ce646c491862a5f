"""The figures of `evaluate`: titles, units, and what a difference must have to be listed."""

import enum
from dataclasses import dataclass


class Importance(enum.IntEnum):
    """Order in which differences are listed, the most important for a listener first."""

    RHYTHM = 0
    FAULT = 1  # audible faults: silence, clipping, joins
    SOUND = 2
    MODEL = 3
    BASELINE = 4  # only explains another figure, never listed


@dataclass(frozen=True)
class Metric:
    """A figure.

    Attributes:
      title: for tables.
      unit: with what a share or percentage is of; "" for a number without a unit.
      form: format of its values.
      importance: of a difference.
      resolution: smallest difference that matters, the least value of a floor.
      over: what is observed within the tracks, in the plural; "" if a track is one observation.
      count: key of the number of those in the figures of a track.
      least: observations without which a difference is not judged.
    """

    title: str
    unit: str
    form: str
    importance: Importance
    resolution: float
    over: str = ""
    count: str = ""
    least: int = 0

    @property
    def label(self) -> str:
        """Returns the title with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


DISTANCES = ("energy", "kernel")
_RHYTHM, _FAULT, _SOUND, _MODEL, _BASELINE = Importance
_BEATS = ("beats", "num_beats", 16)
_BARS = ("bars", "num_bars", 4)
_JOINS = ("joins", "num_joins", 8)
_FRAMES = ("frames", "num_frames_elsewhere", 500)
_CODES = ("codes", "num_codes", 1000)
_PIECES = ("pieces", "num_pieces", 8)
_SIMILARITY = ("correlation", ".3f", _RHYTHM, 0.02, *_BARS)

# {name: metric}, in the order of the table.
METRICS = {
    "loudness_lufs": Metric("loudness", "LUFS", ".1f", _SOUND, 0.5),
    "true_peak_db": Metric("true peak", "dBTP", ".2f", _SOUND, 0.5),
    "bass_db": Metric("level under 150 Hz", "dB", ".1f", _SOUND, 0.5),
    "middle_db": Metric("level of 150 Hz to 2 kHz", "dB", ".1f", _SOUND, 0.5),
    "presence_db": Metric("level of 2 to 6 kHz", "dB", ".1f", _SOUND, 0.5),
    "treble_db": Metric("level of 6 to 16 kHz", "dB", ".1f", _SOUND, 0.5),
    "code_tone_db": Metric("loudest tone at the code rate", "dB", ".1f", _SOUND, 1.0),
    "silent": Metric("silence", "share of 50 ms steps", ".4f", _FAULT, 0.005),
    "clipped": Metric("clipped samples", "share of samples", ".5f", _FAULT, 1e-4),
    "dc": Metric("DC offset", "share of full scale", ".5f", _FAULT, 1e-3),
    "tempo_bpm": Metric("tempo", "BPM", ".2f", _RHYTHM, 0.2, *_BEATS),
    "pulse": Metric("pulse clarity", "correlation", ".3f", _RHYTHM, 0.02),
    "beat_spread_percent": Metric(
        "spread of the beats", "% of a beat", ".2f", _RHYTHM, 0.2, *_BEATS
    ),
    "tempo_drift_percent": Metric("tempo drift", "% of the tempo", ".2f", _RHYTHM, 0.2, *_BEATS),
    "four_on_the_floor": Metric("four on the floor", "0 to 1", ".3f", _RHYTHM, 0.02, *_BEATS),
    "similarity_1_bars": Metric("similarity to the next bar", *_SIMILARITY),
    "similarity_4_bars": Metric("similarity 4 bars later", *_SIMILARITY),
    "similarity_8_bars": Metric("similarity 8 bars later", *_SIMILARITY),
    "similarity_16_bars": Metric("similarity 16 bars later", *_SIMILARITY),
    "asked_tempo_error": Metric("error of the tempo", "% of the asked one", ".2f", _RHYTHM, 0.1),
    "asked_tempo_hit": Metric(
        "tempo as asked", "share of tracks within 1 % of it", ".3f", _RHYTHM, 0.02
    ),
    "asked_beat_offset": Metric("offset of the last beats", "ms", ".1f", _RHYTHM, 2.0),
    "asked_beat_hit": Metric(
        "last beats as asked", "share of tracks within 30 ms", ".3f", _RHYTHM, 0.02
    ),
    "asked_drift": Metric("drift", "% of the asked tempo", ".3f", _RHYTHM, 0.05),
    "asked_beat_f": Metric("beats", "F-measure of mir_eval", ".3f", _RHYTHM, 0.02),
    "asked_key_score": Metric("key", "weighted score of MIREX", ".3f", _RHYTHM, 0.02),
    "asked_key_hit": Metric("key as asked", "share of tracks", ".3f", _RHYTHM, 0.02),
    "loop_flux_rank": Metric("flux at the loop's join", "rank among beats", ".3f", _FAULT, 0.05),
    "loop_level_rank": Metric(
        "step of level at the loop's join", "rank among beats", ".3f", _FAULT, 0.05
    ),
    "loop_hit": Metric("joins like a beat inside", "share of loops", ".3f", _FAULT, 0.05),
    "shift_samples": Metric("delay", "samples", ".0f", _MODEL, 1.0),
    "spectral_convergence_db": Metric(
        "spectral convergence", "dB re the original", ".2f", _MODEL, 0.2
    ),
    "multi_resolution_stft": Metric("multi-resolution STFT", "", ".3f", _MODEL, 0.02),
    "mel_db": Metric("mel distance", "dB", ".2f", _MODEL, 0.1),
    "si_sdr_db": Metric("SI-SDR", "dB", ".2f", _MODEL, 0.2),
    "visqol_mos": Metric("ViSQOL", "MOS, 1 to 4.73", ".2f", _MODEL, 0.05),
    "usage": Metric("codes in use", "share of the codebook", ".3f", _MODEL, 0.005, *_CODES),
    "dead": Metric("dead codes", "share of the codebook", ".3f", _MODEL, 0.005, *_CODES),
    "perplexity": Metric("perplexity", "codes", ".0f", _MODEL, 5.0, *_CODES),
    "entropy_bits": Metric("entropy", "bits per code", ".2f", _MODEL, 0.02, *_CODES),
    "bits_per_code": Metric("bits per code", "bits per code", ".3f", _MODEL, 0.01, *_CODES),
    "label_changes": Metric(
        "most likely codes that labels change", "share of codes", ".4f", _MODEL, 0.005, *_CODES
    ),
    "label_bits": Metric("bits saved by labels", "bits per code", ".4f", _MODEL, 0.005, *_CODES),
    "lyric_bits": Metric("bits saved by lyrics", "bits per code", ".4f", _MODEL, 0.005, *_CODES),
    "flux_ratio": Metric("flux at joins", "ratio to elsewhere", ".2f", _FAULT, 0.05, *_JOINS),
    "jump_db_at": Metric("step of level at joins", "dB", ".2f", _FAULT, 0.2, *_JOINS),
    "jump_db_elsewhere": Metric("step of level elsewhere", "dB", ".2f", _BASELINE, 0.2, *_FRAMES),
    "dance_tag": Metric("house, electronic or electronica", "share of tracks", ".3f", _SOUND, 0.02),
    "energy": Metric("energy distance", "reference's deviations", ".3f", _SOUND, 0.01, *_PIECES),
    "kernel": Metric("kernel distance", "", ".4f", _SOUND, 0.01, *_PIECES),
}
