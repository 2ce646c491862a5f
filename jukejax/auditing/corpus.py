"""The training corpus as the audit sees it: indexes of its recordings and codes, kept beside it.

FOLDER/audit/recordings-HASH/   landmarks of each track, their index, what held-out tracks reach
FOLDER/audit/codes-HASH/        the codes, their suffix array, what held-out tracks reach

HASH is the corpus' own, so that an index is used as long as the corpus is the same. Landmarks are
kept track by track: an audit that was killed goes on with the next one.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jukejax.analysis.code_index import CodeIndex
from jukejax.analysis.fingerprint import Index, Landmarks, extract_landmarks
from jukejax.analysis.verdict import RULES
from jukejax.auditing import evidence
from jukejax.auditing.code_distance import Neighbours
from jukejax.auditing.evidence import Evidence
from jukejax.auditing.recordings import WINDOW, Hit, Recordings
from jukejax.common import files
from jukejax.common.progress import Progress
from jukejax.data import audio, corpus, reading, records

RATE = audio.SAMPLE_RATE
LEVEL = 2  # of the codes that are compared: the plan of the music
CODE_RATE = RATE / records.HOPS[LEVEL]
NULL_EXCERPTS = 300  # of held-out tracks whose recordings are looked for
NULL_SECONDS = 600  # of held-out tracks whose codes are looked for
NULL_STRETCH = 30  # seconds, the least of a track: the longest windows are 9 s
MARK = "corpus.txt"  # in an index's folder: whose it is
VERSION = 2  # of what is kept; a change makes kept ones stale


def open_training(paths: Sequence[str]) -> tuple[corpus.Dataset | None, corpus.Dataset | None]:
    """The audio shards and the code shards among `paths`."""
    found: dict[str, corpus.Dataset] = {}
    for path in paths:
        dataset = corpus.open_dataset(path)
        if dataset.kind in found:
            raise ValueError(
                f"--training names two folders of {dataset.kind}, {found[dataset.kind].folder} "
                f"and {path}; give at most one of audio and one of codes"
            )
        if not dataset.tracks("train"):
            raise ValueError(f"--training={path} has no training tracks")
        found[dataset.kind] = dataset
    recordings, codes = found.get("audio"), found.get("codes")
    if recordings and codes and codes.info.get("source") != recordings.corpus_hash:
        raise ValueError(
            f"--training={','.join(paths)}: the codes were not made of this audio; run encode on "
            f"{recordings.folder}, or give one of the two"
        )
    return recordings, codes


def _kept(cache: Path, kind: str, dataset: corpus.Dataset) -> Path:
    """The folder of an index; those of other states of the same corpus go."""
    key = hashlib.sha256(f"{dataset.corpus_hash} {VERSION}".encode()).hexdigest()[:16]
    owner = os.path.relpath(dataset.folder.resolve(), cache.resolve())  # both may be moved
    folder = cache / f"{kind}-{key}"
    for mark in cache.glob(f"{kind}-*/{MARK}"):
        if mark.parent != folder and mark.read_text() == owner:
            shutil.rmtree(mark.parent)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text(owner)
    return folder


def _remembered(path: Path, make: Callable[[], dict[str, list[float]]]) -> dict[str, list[float]]:
    """What is in a JSON file, or what `make` gives, which is then there."""
    if path.exists():
        return json.loads(path.read_text())
    found = make()
    files.write_bytes(path, json.dumps(found).encode())
    return found


class AudioCorpus:
    """Recordings to compare with.

    Attributes:
      tracks: of the training split.
      thresholds: by kind of evidence.
    """

    def __init__(self, dataset: corpus.Dataset, cache: Path):
        self.dataset, self.tracks = dataset, dataset.tracks("train")
        with files.lock_output(cache, "audit"):
            folder = _kept(cache, "recordings", dataset)
            self._recordings = Recordings(self._index(folder), self.read, RATE)
            null = _remembered(folder / "heldout.json", self._null)
        self.thresholds = {
            kind: RULES[kind].derive_thresholds(values) for kind, values in null.items()
        }

    def read(self, track: int, start: int, count: int, split: str = "train") -> np.ndarray:
        """float32 [count] mono; zeros beyond the ends of the track."""
        facts = self.dataset.tracks(split)[track]
        sound = np.zeros(count, np.float32)
        first, last = max(start, 0), min(start + count, facts.samples)
        if first < last:
            reading.fill_audio_window(
                self.dataset, split, facts, first, sound[first - start : last - start]
            )
        return sound

    def _index(self, folder: Path) -> Index:
        path = folder / "index.npz"
        if path.exists():
            return Index.load(path)
        minutes = [track.samples / RATE / 60 for track in self.tracks]
        progress = Progress("landmarks, minutes of audio", round(sum(minutes)))
        found = []
        for i, track in enumerate(self.tracks):
            part = folder / f"track_{i:06d}.npz"
            if not part.exists():
                _write(part, extract_landmarks(self.read(i, 0, track.samples), RATE).save)
            found.append(Landmarks.load(part))
            progress.update(round(sum(minutes[: i + 1])))
        index = Index.build(found)
        _write(path, index.save)
        for part in folder.glob("track_*.npz"):
            part.unlink()
        return index

    def _null(self) -> dict[str, list[float]]:
        """What excerpts of held-out tracks reach."""
        places = excerpts(self.dataset.tracks("heldout"))
        progress, best = (
            Progress("held-out excerpts", len(places)),
            {"votes": [], "correlation": []},
        )
        for done, (track, start) in enumerate(places, start=1):
            hits = self.hits(self.read(track, start, WINDOW * RATE, "heldout"))
            for kind, values in best.items():
                values.append(max((getattr(hit, kind) for hit in hits), default=0.0))
            progress.update(done)
        return best

    def hits(self, mono: np.ndarray) -> list[Hit]:
        """Where in the corpus the excerpts of a sound may be from."""
        return self._recordings.find(mono)

    def evidence(self, mono: np.ndarray) -> dict[str, Evidence]:
        """For each second of float [time]."""
        return evidence.of_hits(self.hits(mono), max(round(len(mono) / RATE), 1))


def excerpts(tracks: Sequence[corpus.Track]) -> list[tuple[int, int]]:
    """(track, sample) of up to `NULL_EXCERPTS` excerpts, evenly spread, that do not overlap."""
    size = WINDOW * RATE
    places = [
        (i, start)
        for i, track in enumerate(tracks)
        for start in range(0, track.samples - size + 1, size)
    ]
    step = max(len(places) / NULL_EXCERPTS, 1)
    return [places[int(k * step)] for k in range(int(len(places) / step))]


class CodeCorpus:
    """Codes to compare with.

    Args:
      codebook: float [size, dimensions], of the level's codes; without it runs are all there is.

    Attributes:
      tracks: of the training split; a track may be there several times (`encode --offsets`).
      thresholds: by kind of evidence.
    """

    def __init__(self, dataset: corpus.Dataset, cache: Path, codebook: np.ndarray | None = None):
        self.dataset, self.tracks = dataset, dataset.tracks("train")
        self.size = dataset.info["codebook_size"]
        with files.lock_output(cache, "audit"):
            folder = _kept(cache, "codes", dataset)
            self._codes = self._index(folder)
            self._near = None
            if codebook is not None:
                self._near = Neighbours(self._codes, codebook, CODE_RATE)
            name = "heldout_runs.json" if codebook is None else "heldout.json"
            null = _remembered(folder / name, self._null)
        self.thresholds = {
            kind: RULES[kind].derive_thresholds(values) for kind, values in null.items()
        }

    def _index(self, folder: Path) -> CodeIndex:
        done = folder / "complete"
        if not done.exists():
            progress, found = Progress("codes, tracks", len(self.tracks)), []
            for i in range(len(self.tracks)):
                found.append(self.dataset.read_codes("train", i, [LEVEL])[0])
                progress.update(i + 1)
            codes = sum(map(len, found))
            print(f"sorting {codes:,} codes; about {1 + codes // 2_500_000} s", flush=True)
            CodeIndex.build(found, self.size).save(folder)
            done.touch()
        return CodeIndex.load(folder, self.size)

    def _null(self) -> dict[str, list[float]]:
        """What seconds of held-out tracks reach."""
        tracks = len(self.dataset.tracks("heldout"))
        looked_at = min(tracks, NULL_SECONDS // NULL_STRETCH)
        progress = Progress("held-out codes, tracks", looked_at)
        count = round(NULL_SECONDS / max(looked_at, 1) * CODE_RATE)
        kinds = ["run_bits"]
        if self._near is not None:
            kinds += [kind for kind in RULES if kind.startswith("nearness")]
        best = {kind: [] for kind in kinds}
        for i in range(looked_at):
            codes = self.dataset.read_codes("heldout", i * tracks // looked_at, [LEVEL])[0]
            first = max(len(codes) - count, 0) // 2
            for kind, found in self.evidence(codes[first : first + count]).items():
                best[kind] += found.values[np.isfinite(found.values)].tolist()
            progress.update(i + 1)
        return best

    def codes(self, track: int) -> np.ndarray:
        """uint16 [time] of a track."""
        return self._codes.track(track)

    def evidence(self, codes: np.ndarray) -> dict[str, Evidence]:
        """For each second of codes [time]."""
        if codes.max(initial=0) >= self.size:
            raise ValueError(
                f"code {codes.max()} is beyond the {self.size} of {self.dataset.folder}: the codes "
                "were not made by the VQ-VAE of --training"
            )
        seconds = max(round(len(codes) / CODE_RATE), 1)
        result = {"run_bits": evidence.of_runs(self._codes.find_runs(codes), seconds, CODE_RATE)}
        if self._near is not None:
            nearest = self._near.nearest(codes)
            result |= evidence.of_nearest(nearest, self._codes, seconds, CODE_RATE)
        return result


def _write(path: Path, save: Callable) -> None:
    buffer = io.BytesIO()
    save(buffer)
    files.write_bytes(path, buffer.getbuffer())
