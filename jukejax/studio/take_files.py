"""What the folder of a take holds: levels, sound, length, grid."""

from dataclasses import dataclass
from pathlib import Path

import soundfile

from jukejax.common import files
from jukejax.common.config import freeze
from jukejax.common.json_values import parse_number
from jukejax.data.grid import Grid

ITEM = "item_000"
SAMPLE_RATE = 44_100


@dataclass(frozen=True)
class TakeFiles:
    """The files of a take.

    Attributes:
      item: folder of its item.
      levels: finished ones, from coarse to fine.
      sound: the finest WAV, or the one that grows while it is sampled; None: nothing yet.
      seconds: length; None: unknown yet.
    """

    item: Path
    levels: tuple[int, ...]
    sound: Path | None
    seconds: float | None
    sample_rate: int
    grid: Grid
    meta: dict

    @property
    def bars(self) -> list[float]:
        """Returns the starts of the bars in seconds; none if the tempo is unknown."""
        if self.grid.bpm is None or self.grid.first_downbeat is None or not self.seconds:
            return []
        bar = self.grid.bar_samples(self.sample_rate) / self.sample_rate
        start = self.grid.first_downbeat / self.sample_rate
        count = int((self.seconds - start) / bar + 1e-6)
        return [start + i * bar for i in range(max(count, 0) + 1) if start + i * bar >= 0]

    @property
    def sound_seconds(self) -> float:
        """Returns the length of the sound, which may end within the last code."""
        if self.sound is None:
            return 0.0
        info = soundfile.info(self.sound)
        return info.frames / info.samplerate

    @property
    def codes(self) -> Path:
        """Returns the path of codes.npz."""
        return self.item / "codes.npz"


def read_take_files(folder: Path) -> TakeFiles:
    """Reads the folder of a take, which may be empty or unfinished."""
    item = folder / ITEM
    meta = files.read_json_if_any(item / "meta.json")
    gains = meta.get("gain")
    finished = gains if isinstance(gains, dict) else {}
    wavs = {
        level: item / f"level_{level}.wav"
        for level in range(16)
        if f"level_{level}" in finished and (item / f"level_{level}.wav").is_file()
    }
    sound = wavs[min(wavs)] if wavs else None
    stream = item / "stream.wav"
    if sound is None and stream.is_file():
        sound = stream
    try:
        grid = freeze(Grid, meta.get("grid") or {}, "meta.json.grid")
    except ValueError:
        grid = Grid()
    return TakeFiles(
        item,
        tuple(sorted(wavs, reverse=True)),
        sound,
        parse_number(meta.get("seconds")),
        int(parse_number(meta.get("sample_rate")) or SAMPLE_RATE),
        grid,
        meta,
    )
