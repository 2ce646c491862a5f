"""A source of music, and the result of its preparation."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """The source of a track: a file, or track `index` of the house corpus."""

    name: str
    path: str = ""
    index: int = 0
    seconds: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class PreparedTrack:
    """The result of the preparation of a source.

    Attributes:
      reason: reason why the source cannot be used; empty if it can.
      array: file in the cache with int16 [time, channels].
      fingerprint: file in the cache with its `fingerprint.Landmarks`.
      content: sha256 of the sound of the source, without its tags.
      notes: repairs and other messages for the user.
      loudness: LUFS of the stored audio; None if too soft to measure.
      trimmed: seconds of silence removed at the start and at the end.
      fade_out: seconds of a long fade-out at the end, cut or not.
      dead_air: start and length in seconds of long silences, in the time of the source.
      sdr: SI-SDR in dB of the instrumental against the true one, before and after separation, if
        the latter is known.
    """

    name: str
    reason: str = ""
    array: str = ""
    fingerprint: str = ""
    content: str = ""
    samples: int = 0
    channels: int = 0
    artist: str = ""
    genre: str = ""
    bpm: float | None = None
    key: str | None = None
    notes: list[str] = field(default_factory=list)
    loudness: float | None = None
    trimmed: list[float] = field(default_factory=lambda: [0.0, 0.0])
    fade_out: float = 0.0
    dead_air: list[list[float]] = field(default_factory=list)
    sdr: dict[str, float] | None = None
