"""The work on one source as a value that any process on any machine can run.

On one machine it is `tracks.make`. With a source or a cache in a bucket, the source is brought
here, worked on, and the entry of the cache brought there; a note under `CACHE/sources` says what
came of a source in the state it had, so that a second run fetches only what is new or changed.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from jukejax.data import audio
from jukejax.preparation import places, tracks
from jukejax.preparation.rules import Rules


@dataclass(frozen=True)
class Job:
    """Makes a `tracks.Made` of a `tracks.Source`.

    Attributes:
      separator: takes the singer out, float32 [time, channels] to the same; with `method`, `hash`.
      cache: folder, local or in a bucket; for several machines it must be one that all of them see.
    """

    separator: Callable[[np.ndarray], np.ndarray]
    cache: str
    rules: Rules

    def __call__(self, source: tracks.Source) -> tracks.Made:
        """See `tracks.make`.

        Raises:
          OSError: if the cache cannot be written, or the bucket of the source cannot be read.
        """
        if not (places.is_remote(source.path) or places.is_remote(self.cache)):
            return tracks.make(source, self.separator, self.cache, self.rules)
        note = places.join(self.cache, "sources", f"{self._key(source)}.json")
        if (made := _noted(note, source.name)) is not None:
            return made
        with tempfile.TemporaryDirectory(prefix="jukejax-") as folder:
            made = self._make_here(source, folder)
            if not made.reason:
                places.put_bytes(json.dumps(asdict(made)).encode(), note)
        return made

    def _make_here(self, source: tracks.Source, folder: str) -> tracks.Made:
        """Runs `tracks.make` on local files, in `folder` if the cache is in a bucket."""
        remote = places.is_remote(self.cache)
        with places.local_copy(source.path) as path:
            local = replace(source, path=str(path)) if source.path else source
            made = tracks.make(local, self.separator, folder if remote else self.cache, self.rules)
        if not remote:
            return made
        for path in Path(folder).iterdir():
            places.put(path, places.join(self.cache, path.name))
        moved = {
            key: places.join(self.cache, Path(value).name)
            for key, value in asdict(made).items()
            if isinstance(value, str) and value.startswith(folder)
        }
        return replace(made, **moved)

    def _key(self, source: tracks.Source) -> str:
        if places.is_remote(source.path):
            state = places.state(source.path)
        else:
            state = Path(source.path).stat().st_mtime_ns if source.path else 0
        process = [self.separator.method, self.separator.hash, asdict(self.rules)]
        key = [asdict(source), state, *process, audio.SAMPLE_RATE, tracks.VERSION]
        return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def _noted(note: str, name: str) -> tracks.Made | None:
    """What a note says of a source, if there is one and the entry that it names still exists."""
    if not places.exists(note):
        return None
    with places.local_copy(note) as path:
        made = tracks.Made(**json.loads(path.read_text()) | {"name": name})
    return made if places.exists(made.array) else None
