"""An earlier track as the source of a new one."""

from dataclasses import dataclass, field

import numpy as np

from jukejax.data.grid import Grid

NAMED_LABELS = ("artist", "genre", "lyrics")  # those that a track passes on as texts


@dataclass(frozen=True, eq=False)
class SourceTrack:
    """An earlier track in memory.

    Attributes:
      codes: {level: int32 [t]}.
      grid: of the track, from its start.
      names: its `NAMED_LABELS`, those that it has.
      vqvae: identity of the VQ-VAE that made the codes; {} if it is unknown.
    """

    codes: dict[int, np.ndarray]
    grid: Grid = field(default_factory=Grid)
    names: dict[str, str] = field(default_factory=dict)
    vqvae: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lengths = ", ".join(f"{len(v)} of level {k}" for k, v in sorted(self.codes.items()))
        return f"the codes ({lengths or 'none'})"
