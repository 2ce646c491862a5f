"""Mixing of surround sound down to stereo, after ITU-R BS.775-3, annex 4.

Front channels keep their level; center, side and back channels are added at -3 dB; the channel of
low-frequency effects is dropped. Nothing is normalized: peaks above 1 are reduced where sound is
stored.
"""

import numpy as np

_HALF = np.float32(np.sqrt(0.5))
_BOTH = (_HALF, _HALF)
_LEFT, _RIGHT = (_HALF, 0.0), (0.0, _HALF)
# Gains to left and right by FFmpeg's names of channels.
_GAINS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": _BOTH,
    "LFE": (0.0, 0.0),
    "LFE2": (0.0, 0.0),
    "BL": _LEFT,
    "BR": _RIGHT,
    "FLC": _LEFT,
    "FRC": _RIGHT,
    "BC": (np.float32(0.5), np.float32(0.5)),
    "SL": _LEFT,
    "SR": _RIGHT,
    "WL": _LEFT,
    "WR": _RIGHT,
    "TFL": _LEFT,
    "TFR": _RIGHT,
    "TBL": _LEFT,
    "TBR": _RIGHT,
    "TSL": _LEFT,
    "TSR": _RIGHT,
    "TC": _BOTH,
    "TFC": _BOTH,
    "TBC": _BOTH,
    "DL": (1.0, 0.0),
    "DR": (0.0, 1.0),
}
# Channels of files without names, by number: the order of Microsoft and of FLAC.
_DEFAULT = {
    1: ("FC",),
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


class Downmix:
    """Mixes blocks of any layout down to mono or stereo.

    Attributes:
      channels: of the result, 1 or 2.
      note: description for the user; "" if nothing is mixed.
    """

    def __init__(self, layout: tuple[str, ...]):
        """Chooses the gains.

        Args:
          layout: FFmpeg's names of the channels; empty ones if the file names none.

        Raises:
          ValueError: a layout has no rule.
        """
        names = layout if all(layout) else _DEFAULT.get(len(layout), ())
        self.channels, self.note, self._gains = min(len(layout), 2), "", None
        if len(layout) == 1 or names in (("FL", "FR"), ("DL", "DR")):
            return
        if not names or not set(names) <= _GAINS.keys():
            raise ValueError(
                f"{len(layout)} channels of an unknown layout ({'/'.join(layout).strip('/')}): mix "
                "it down to stereo"
            )
        self.channels = 2
        self._gains = np.array([_GAINS[name] for name in names], np.float32)
        listed = "/".join(names)
        self.note = f"{len(names)} channels ({listed}): mixed down to stereo (ITU-R BS.775)"

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Mixes a block, float32 [time, channels of the layout] to [time, channels]."""
        return block if self._gains is None else block @ self._gains
