"""The sound of a source at 44.1 kHz: decoded into a temporary file, and repaired."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jukejax.data import audio, decoding
from jukejax.data.repair import plan_repair
from jukejax.data.spool import Spool
from jukejax.preparation.prepared_track import Source
from jukejax.preparation.rules import Rules


@dataclass(frozen=True)
class Mix:
    """The sound of a source.

    Attributes:
      samples: at 44.1 kHz, repaired.
      content: sha256 of the sound.
      notes: on the file and its repairs.
      tags: of the container, as FFmpeg reads them, by their names in lower case.
    """

    name: str
    samples: audio.Samples
    content: str
    notes: list[str]
    tags: Mapping[str, str] = field(default_factory=dict)


class TooLongError(ValueError):
    """A file is longer than `Rules.max_seconds`.

    Attributes:
      samples: its length, as far as it is known.
    """

    def __init__(self, reason: str, samples: int):
        super().__init__(reason)
        self.samples = samples


@contextlib.contextmanager
def decode_mix(source: Source, rules: Rules, cache: Path) -> Iterator[Mix]:
    """Decodes a file into a spool, and repairs it.

    Raises:
      ValueError: the file cannot be used, or is silent.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(decoding.open_sound(source.path, identify=True))
        limit = rules.max_seconds + 1  # s; the exact length is checked after decoding
        if file.seconds is not None and file.seconds > limit:
            _refuse_length(file.seconds, rules)
        stream = audio.StereoStream(file)
        spool = stack.enter_context(contextlib.closing(Spool(cache, stream.channels)))
        for block in stream.blocks():
            spool.append(block)
            if len(spool) > limit * audio.SAMPLE_RATE:
                _refuse_length(len(spool) / audio.SAMPLE_RATE, rules)
        spool.repair = plan_repair(spool.statistics)
        notes = stream.notes + spool.repair.notes
        yield Mix(source.name, spool, file.content, notes, file.tags)


def _refuse_length(seconds: float, rules: Rules) -> None:
    raise TooLongError(rules.check_seconds(seconds), round(seconds * audio.SAMPLE_RATE))
