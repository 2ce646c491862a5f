"""Preparation of one source as an object that can be sent to any process on any machine.

For local files it is `tracks.prepare_track`. With a source or a cache in a bucket, the source is
downloaded and prepared, and its cache entry is uploaded; a record under `CACHE/sources` has the
result for the current version of a source, so that a second run downloads new and changed files
only.
"""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from jukejax.common import files, storage
from jukejax.common.config import freeze
from jukejax.data import audio
from jukejax.preparation import track_cache, tracks
from jukejax.preparation.prepared_track import PreparedTrack, Source
from jukejax.preparation.rules import Rules


@dataclass(frozen=True)
class Job:
    """Prepares a source.

    Attributes:
      separator: removes the vocals.
      cache: folder, local or in a bucket; all machines must have access to it.
    """

    separator: tracks.Separator
    cache: str
    rules: Rules

    def __call__(self, source: Source) -> PreparedTrack:
        """Prepares a source; see `tracks.prepare_track`.

        Raises:
          OSError: the cache cannot be written, or the bucket of the source cannot be read.
        """
        if not (storage.is_remote(source.path) or storage.is_remote(self.cache)):
            return tracks.prepare_track(source, self.separator, self.cache, self.rules)
        record = storage.join_path(self.cache, "sources", f"{self._key(source)}.json")
        if (prepared := _read_record(record, source.name)) is not None:
            return prepared
        with tempfile.TemporaryDirectory(prefix="jukejax-") as folder:
            prepared = self._prepare_locally(source, folder)
            if not prepared.reason:
                files.store_bytes(record, json.dumps(asdict(prepared)).encode())
        return prepared

    def _prepare_locally(self, source: Source, folder: str) -> PreparedTrack:
        """Runs `tracks.prepare_track` on local files, in `folder` if the cache is in a bucket."""
        remote = storage.is_remote(self.cache)
        cache = folder if remote else self.cache
        with storage.local_copy(source.path) as path:
            local = replace(source, path=str(path)) if source.path else source
            prepared = tracks.prepare_track(local, self.separator, cache, self.rules)
        if not remote:
            return prepared
        for path in filter(Path.is_file, Path(folder).iterdir()):
            storage.upload(path, storage.join_path(self.cache, path.name))
        return replace(
            prepared,
            array=self._uploaded_path(prepared.array),
            fingerprint=self._uploaded_path(prepared.fingerprint),
        )

    def _uploaded_path(self, path: str) -> str:
        return storage.join_path(self.cache, Path(path).name) if path else ""

    def _key(self, source: Source) -> str:
        state: str | int = 0
        if storage.is_remote(source.path):
            state = storage.file_state(source.path)
        elif source.path:
            state = Path(source.path).stat().st_mtime_ns
        process = [self.separator.method, self.separator.hash, asdict(self.rules)]
        key = [asdict(source), state, *process, audio.SAMPLE_RATE, track_cache.VERSION]
        return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def _read_record(record: str, name: str) -> PreparedTrack | None:
    """Reads the record of a source; None without a sound record or its cache entry."""
    if not storage.file_exists(record):
        return None
    with storage.local_copy(record) as path:
        prepared = files.read_cached(path, _read_prepared, name=record)
    if prepared is None or not all(
        storage.file_exists(part) for part in (prepared.array, prepared.fingerprint)
    ):
        return None
    return replace(prepared, name=name)


def _read_prepared(path: Path) -> PreparedTrack:
    return freeze(PreparedTrack, files.read_json(path), path.name)
