"""The settings of a run of `prepare`, with the checks that need no access to the sources."""

from dataclasses import dataclass, field

from jukejax.common import storage
from jukejax.data import audio
from jukejax.preparation import beam_runner, groups, separators
from jukejax.preparation.rules import Rules
from jukejax.preparation.shifts import Shift

LOWEST_RATE = 1000  # Hz


@dataclass(frozen=True)
class Settings:
    """Settings of a run of `prepare`; see the flags of the same names.

    Attributes:
      input: folder, "house", or "tfds:NAME".
      runner: "local" or "beam".
      workers: processes of the local runner; 0 means one per core.
      heldout: share of the groups of tracks, in [0, 1).
      shifts: changes of pitch or tempo; training tracks are stored again with each.
      sample_rate: of the shards; tracks are prepared and cached at 44.1 kHz.
    """

    input: str
    output: str
    separator: separators.Separator
    rules: Rules = field(default_factory=Rules)
    cache: str | None = None
    metadata: str | None = None
    heldout: float = 0.1
    sample_rate: int = audio.SAMPLE_RATE
    shifts: tuple[Shift, ...] = ()
    runner: str = "local"
    workers: int = 0
    beam_options: str = ""
    tfds_data_dir: str | None = None
    house_tracks: int = 16
    house_seconds: tuple[float, float] = (45.0, 45.0)
    house_tempo: tuple[float, float] | None = None
    house_vocals: bool = True
    house_instruments: bool = True
    house_lyrics: bool = False
    seed: int = 0

    def check(self) -> None:
        """Checks the settings that need no access to the sources.

        Raises:
          ValueError: a setting is not possible; the message names its flag.
        """
        if self.workers < 0:
            raise ValueError(f"--workers={self.workers} must be 1 or more, or 0 for one per core")
        groups.draw_heldout([], self.heldout)
        if not LOWEST_RATE <= self.sample_rate <= audio.SAMPLE_RATE:
            raise ValueError(
                f"--sample_rate={self.sample_rate} must lie in {LOWEST_RATE} to {audio.SAMPLE_RATE}"
            )
        if self.runner == "beam":
            beam_runner.parse_options(self.beam_options)
        elif self.beam_options:
            raise ValueError(f"--beam_options={self.beam_options} is for --runner=beam")
        for name, path in (("output", self.output), ("cache", self.cache)):
            if path:
                storage.check_reachable(path, name)
