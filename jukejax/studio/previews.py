"""The newest preview of a tuning: the sound that `train` logs for TensorBoard.

`train` appends to PRIOR/tensorboard/heldout/events.out.tfevents.*, TFRecord files of Event messages
(training/tensorboard.py): {2: step, 5: {1: {1: tag, 6: {4: a WAV file}}}}.
"""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jukejax.common import files
from jukejax.common.protobuf import parse_fields
from jukejax.data.records import Shard

FILE = "preview.wav"  # in the folder of a model
_TAG = b"audio/generated"


class Preview(NamedTuple):
    """Holds what a model in training sampled.

    Attributes:
      step: of the training.
      sound: content of a WAV file.
    """

    step: int
    sound: bytes


def read_preview(folder: Path) -> Preview | None:
    """Returns the newest preview of the folder of a model; None if there is none yet."""
    events = folder / "prior" / "tensorboard" / "heldout"
    for path in sorted(events.glob("events.out.tfevents.*"), reverse=True):
        preview = _find_last_preview(path, path.stat().st_size)
        if preview is not None:
            return preview
    return None


def write_preview(folder: Path) -> Path:
    """Writes the newest preview of a model as a file, if it is not there; returns its path.

    Raises:
      ValueError: there is no preview.
    """
    preview = read_preview(folder)
    if preview is None:
        raise ValueError("there is no such file")
    path = folder / FILE
    if not path.is_file() or path.read_bytes() != preview.sound:
        files.write_bytes(path, preview.sound, shared=True)
    return path


@functools.lru_cache(maxsize=16)
def _find_last_preview(path: Path, size: int) -> Preview | None:
    """Returns the last preview of an event file, which grows: `size` is its key in the cache."""
    del size
    preview = None
    for event in _iterate_events(path):
        try:
            fields = parse_fields(event)
            for summary in fields.get(5, ()):
                for value in map(parse_fields, parse_fields(summary).get(1, ())):
                    if value.get(1) == [_TAG]:
                        sound = parse_fields(value[6][0])[4][0]
                        preview = Preview(fields[2][0], sound)
        except (IndexError, KeyError, AttributeError, TypeError):  # no message of `train`
            continue
    return preview


def _iterate_events(path: Path) -> Iterator[bytes]:
    """Yields the complete, undamaged messages of an event file."""
    try:
        shard = Shard(path)
    except ValueError:  # a damaged header
        return
    for record in range(len(shard)):
        with contextlib.suppress(ValueError):  # a damaged message
            yield bytes(shard.read(record))
