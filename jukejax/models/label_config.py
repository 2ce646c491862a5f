"""The configuration of a prior's labels (`models.labels`)."""

import dataclasses

from jukejax.data import grid, sections
from jukejax.data.labels import FIRST_GENRE, LABEL_NAMES


@dataclasses.dataclass(frozen=True)
class LabelConfig:
    """The configuration of the labels: those of the start slot, and those of every position.

    Attributes:
      num_artists: rows of the artist table; 0 is "unknown".
      num_genres: rows of the genre table.
      max_genres: genres a track may have; their embeddings are summed.
      timing_bins: bins of total length, position and relative position.
      min_duration, max_duration: seconds; shorter and longer tracks are clipped to these.
      sample_rate: of the audio, in Hz.
      tempo_bins: log-spaced bins of the tempo from `min_bpm` to `max_bpm`; 0: no such condition.
      keys: 24 major and minor keys, or 0: no such condition.
      bar_bins: bins of the position in the bar; 0: no such condition.
      phrase_bars: bars of a phrase, counted from the first downbeat; the condition is the number of
        the bar in the phrase. 0: no such condition.
      num_sections: largest number of sections of a window (8 are enough for 12 s of house music);
        the condition is the section of each position, such as intro or drop. 0: no such condition.
      turns: codes of a frame, for a VQ-VAE whose codes take turns (`FrameConfig.turns`); the
        condition is the turn of each position. 0: no such condition.
      min_bpm, max_bpm: beats a minute; slower and faster tracks are clipped to these.
      style_everywhere: the embedding of artist and genre is also added at every position.
      dropout: share of the training windows from which a label is removed, for each label.
      dropout_all: share of the training windows from which all labels are removed.
    """

    num_artists: int
    num_genres: int
    max_genres: int = 1
    timing_bins: int = 128
    min_duration: float = 17.84
    max_duration: float = 600.0
    sample_rate: int = 44100
    tempo_bins: int = 0
    keys: int = 0
    bar_bins: int = 0
    phrase_bars: int = 0
    num_sections: int = 0
    turns: int = 0
    min_bpm: float = 60.0
    max_bpm: float = 200.0
    style_everywhere: bool = False
    dropout: float = 0.0
    dropout_all: float = 0.0

    def __post_init__(self) -> None:
        if self.keys not in (0, len(grid.KEYS) - 1):
            raise ValueError(f"labels.keys is {self.keys}, must be 24, or 0 for no condition")
        for name in ("tempo_bins", "bar_bins", "phrase_bars", "num_sections", "turns"):
            if getattr(self, name) < 0:
                raise ValueError(f"labels.{name} is {getattr(self, name)}, must be 0 or more")
        if not 0 < self.min_bpm < self.max_bpm:
            raise ValueError(
                f"labels.min_bpm is {self.min_bpm} and labels.max_bpm {self.max_bpm}, must be "
                "positive and rise"
            )
        for name in ("dropout", "dropout_all"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"labels.{name} is {getattr(self, name)}, must be in [0, 1)")

    @property
    def uses_tempo(self) -> bool:
        """Returns true if the tempo changes a condition: its own, or a position in bars."""
        return bool(self.tempo_bins or self.bar_bins or self.phrase_bars or self.num_sections)

    @property
    def has_grid(self) -> bool:
        """Returns true if label vectors have the entries of `grid.Grid.make_entries`."""
        return bool(self.uses_tempo or self.keys or self.turns)

    @property
    def cycle_bars(self) -> int:
        """Returns the bars of a cycle of the grid, see `grid.Grid.make_entries`."""
        return max(self.phrase_bars, 1)

    @property
    def width(self) -> int:
        """Returns the entries of a label vector without lyrics."""
        entries = grid.count_entries(self.num_sections) if self.has_grid else 0
        return FIRST_GENRE + self.max_genres + entries

    @property
    def genres(self) -> slice:
        """Returns the columns of the genres."""
        return slice(FIRST_GENRE, FIRST_GENRE + self.max_genres)

    @property
    def grid_columns(self) -> dict[str, int]:
        """Returns the columns of the first entries of `grid.Grid.make_entries`."""
        first = FIRST_GENRE + self.max_genres
        names = ("tempo", "key", "cycle", "cycle_step", "code")
        return {name: first + i for i, name in enumerate(names)}

    @property
    def section_columns(self) -> slice:
        """Returns the columns of the numbers of sections; that of its start is before each."""
        return slice(self.width - sections.count_entries(self.num_sections) + 1, self.width, 2)


def list_label_names(config: LabelConfig) -> tuple[str, ...]:
    """Lists the labels that a model knows and can be without."""
    sizes = {
        "artist": config.num_artists,
        "genre": config.num_genres,
        "tempo": config.tempo_bins,
        "key": config.keys,
        "bar": config.bar_bins or config.phrase_bars,
        "section": config.num_sections,
    }
    return tuple(name for name in LABEL_NAMES if sizes[name])
