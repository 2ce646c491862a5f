"""A source of music, and the result of its preparation."""

from dataclasses import dataclass, field

from jukejax.data.grid import SourcedGrid
from jukejax.data.lrc import TimedLyrics


@dataclass(frozen=True)
class GridText:
    """Tempo, first downbeat, key and sections as text; "": not given.

    Times are in seconds of the source; for sections see `sections.parse_starts`.
    """

    bpm: str = ""
    first_beat: str = ""
    key: str = ""
    sections: str = ""


@dataclass(frozen=True)
class Source:
    """The source of a track: a file, or track `index` of the house corpus (`house.track`).

    Attributes:
      vocals, instruments, lyrics: parts of the track of the house corpus.
    """

    name: str
    path: str = ""
    index: int = 0
    seconds: float = 0.0
    seed: int = 0
    tempo: tuple[float, float] | None = None
    vocals: bool = True
    instruments: bool = True
    lyrics: bool = False


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
      grid: tempo, downbeat, key and sections of the stored audio: estimated, or those of the house
        corpus; from `track_grid.choose_grid` on, those of the metadata and the tags before these.
      first_sample: sample of the source at which the stored audio begins.
      is_joined: passages of the source were cut out, so that the grid is interrupted.
      tags: values of the file's tags that `choose_grid` reads.
      lyrics: of the file's tags, or of the house corpus, with times in the source; from
        `lyrics_source.choose_lyrics` on the final ones, with times in the stored audio.
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
    grid: SourcedGrid = field(default_factory=SourcedGrid)
    first_sample: int = 0
    is_joined: bool = False
    tags: GridText = field(default_factory=GridText)
    lyrics: TimedLyrics = field(default_factory=TimedLyrics)
    notes: list[str] = field(default_factory=list)
    loudness: float | None = None
    trimmed: list[float] = field(default_factory=lambda: [0.0, 0.0])
    fade_out: float = 0.0
    dead_air: list[list[float]] = field(default_factory=list)
    sdr: dict[str, float] | None = None
