"""Indexes of the training corpus, of its recordings and of its codes, stored beside it.

FOLDER/audit/recordings-HASH/   landmarks of each track, their index, evidence of held-out tracks
FOLDER/audit/codes-HASH/        the codes, their suffix array, evidence of held-out tracks

HASH is that of the corpus, so that a changed corpus has a new index. Landmarks are stored track by
track: a killed audit continues with the next track.
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
from jukejax.auditing.code_distance import Neighbors
from jukejax.auditing.evidence import Evidence
from jukejax.auditing.recordings import WINDOW, Recordings
from jukejax.common import files, output_locks
from jukejax.common.progress import Progress
from jukejax.data import audio, corpus, reading, records

RATE = audio.SAMPLE_RATE
LEVEL = 2  # level of the compared codes, the coarsest
CODE_RATE = RATE / records.HOPS[LEVEL]
NULL_EXCERPTS = 300  # number of excerpts of held-out recordings, for thresholds
NULL_SECONDS = 600  # seconds of held-out codes, for thresholds
NULL_STRETCH = 30  # least seconds of each track, as the longest windows are 9 s
OWNER_FILE = "corpus.txt"  # file in the folder of an index with the path of its corpus
VERSION = 2  # version of the stored files; a change invalidates them


def open_training(paths: Sequence[str]) -> tuple[corpus.Dataset | None, corpus.Dataset | None]:
    """Opens the audio shards and the code shards among `paths`.

    Raises:
      ValueError: there are two of a kind, one has no training tracks, or the codes are not those of
        the audio.
    """
    datasets: dict[str, corpus.Dataset] = {}
    for path in paths:
        dataset = corpus.open_dataset(path)
        if dataset.kind in datasets:
            raise ValueError(
                f"--training names two folders of {dataset.kind}, {datasets[dataset.kind].folder} "
                f"and {path}; give at most one of audio and one of codes"
            )
        dataset.check_rate(RATE)
        if dataset.kind == "codes" and dataset.table.hops != records.HOPS:
            raise ValueError(
                f"--training={path} holds codes of the hops {dataset.table.hops}; audit compares "
                f"those of {records.HOPS}, or sound: give audio shards"
            )
        if not dataset.tracks("train"):
            raise ValueError(f"--training={path} has no training tracks")
        datasets[dataset.kind] = dataset
    recordings, codes = datasets.get("audio"), datasets.get("codes")
    if recordings and codes and codes.info.get("source") != recordings.corpus_hash:
        raise ValueError(
            f"--training={','.join(paths)}: the codes were not made of this audio; run encode on "
            f"{recordings.folder}, or give one of the two"
        )
    return recordings, codes


def _index_folder(cache: Path, kind: str, dataset: corpus.Dataset) -> Path:
    """Returns the folder of an index; removes those of earlier states of the same corpus."""
    key = hashlib.sha256(f"{dataset.corpus_hash} {VERSION}".encode()).hexdigest()[:16]
    # Relative, since both may be moved together.
    owner = os.path.relpath(dataset.folder.resolve(), cache.resolve())
    folder = cache / f"{kind}-{key}"
    for mark in cache.glob(f"{kind}-*/{OWNER_FILE}"):
        if mark.parent != folder and mark.read_text("utf-8") == owner:
            shutil.rmtree(mark.parent)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWNER_FILE).write_text(owner, "utf-8")
    return folder


def _load_or_compute(
    path: Path, compute: Callable[[], dict[str, list[float]]]
) -> dict[str, list[float]]:
    """Reads the content of a JSON file, or computes and writes it."""
    if (stored := files.read_cached(path, files.read_json)) is not None:
        return stored
    values = compute()
    files.write_bytes(path, json.dumps(values).encode())  # compact, for many numbers
    return values


class AudioCorpus:
    """Indexes the recordings of a corpus.

    Attributes:
      tracks: of the training split.
      thresholds: by kind of evidence.
    """

    def __init__(self, dataset: corpus.Dataset, cache: Path):
        self.dataset, self.tracks = dataset, dataset.tracks("train")
        with output_locks.lock_output(cache, "audit"):
            folder = _index_folder(cache, "recordings", dataset)
            self._recordings = Recordings(self._load_index(folder), self.read_track, RATE)
            null = _load_or_compute(folder / "heldout.json", self._measure_heldout)
        self.thresholds = {
            kind: RULES[kind].derive_thresholds(values) for kind, values in null.items()
        }

    def read_track(self, track: int, start: int, count: int, split: str = "train") -> np.ndarray:
        """Reads float32 [count] mono from sample `start` on; zeros beyond the track's ends."""
        facts = self.dataset.tracks(split)[track]
        sound = np.zeros(count, np.float32)
        first, last = max(start, 0), min(start + count, facts.samples)
        if first < last:
            reading.fill_audio_window(
                self.dataset, split, facts, first, sound[first - start : last - start]
            )
        return sound

    def _load_index(self, folder: Path) -> Index:
        """Loads the index of landmarks, or builds it track by track."""
        path = folder / "index.npz"
        if (stored := files.read_cached(path, Index.load)) is not None:
            return stored
        minutes = [track.samples / RATE / 60 for track in self.tracks]
        progress = Progress("landmarks, minutes of audio", round(sum(minutes)))
        marks = []
        for i, track in enumerate(self.tracks):
            finished = folder / f"track_{i:06d}.npz"
            landmarks = files.read_cached(finished, Landmarks.load)
            if landmarks is None:
                landmarks = extract_landmarks(self.read_track(i, 0, track.samples), RATE)
                _save_arrays(finished, landmarks.save)
            marks.append(landmarks)
            progress.update(round(sum(minutes[: i + 1])))
        index = Index.build(marks)
        _save_arrays(path, index.save)
        for finished in folder.glob("track_*.npz"):
            finished.unlink()
        return index

    def _measure_heldout(self) -> dict[str, list[float]]:
        """Returns the evidence of excerpts of held-out tracks, by kind."""
        places = choose_excerpts(self.dataset.tracks("heldout"))
        progress = Progress("held-out excerpts", len(places))
        best: dict[str, list[float]] = {"votes": [], "correlation": []}
        for done, (track, start) in enumerate(places, start=1):
            excerpt = self.read_track(track, start, WINDOW * RATE, "heldout")
            hits = self._recordings.find_hits(excerpt)
            for kind, values in best.items():
                values.append(max((getattr(hit, kind) for hit in hits), default=0.0))
            progress.update(done)
        return best

    def find_evidence(self, sound: audio.Samples) -> dict[str, Evidence]:
        """Returns the evidence for each second of a sound, float32 [time, channels]."""
        mono = (block.mean(axis=1) for block in audio.iterate_blocks(sound))
        hits = self._recordings.find_hits(mono)
        return evidence.from_hits(hits, max(round(len(sound) / RATE), 1))


def choose_excerpts(tracks: Sequence[corpus.Track]) -> list[tuple[int, int]]:
    """Returns (track, sample) of up to `NULL_EXCERPTS` excerpts, evenly spread, without overlap."""
    size = WINDOW * RATE
    places = [
        (i, start)
        for i, track in enumerate(tracks)
        for start in range(0, track.samples - size + 1, size)
    ]
    step = max(len(places) / NULL_EXCERPTS, 1)
    return [places[int(k * step)] for k in range(int(len(places) / step))]


class CodeCorpus:
    """Indexes the codes of a corpus.

    Args:
      codebook: float [size, dimensions], of the level; without it only exact runs are found.

    Attributes:
      tracks: of the training split; a track may occur several times (`encode --offsets`).
      thresholds: by kind of evidence.
    """

    def __init__(self, dataset: corpus.Dataset, cache: Path, codebook: np.ndarray | None = None):
        self.dataset, self.tracks = dataset, dataset.tracks("train")
        self.size = dataset.info["codebook_size"]
        with output_locks.lock_output(cache, "audit"):
            folder = _index_folder(cache, "codes", dataset)
            self._codes = self._load_index(folder)
            self._neighbors = None
            if codebook is not None:
                self._neighbors = Neighbors(self._codes, codebook, CODE_RATE)
            name = "heldout_runs.json" if codebook is None else "heldout.json"
            null = _load_or_compute(folder / name, self._measure_heldout)
        self.thresholds = {
            kind: RULES[kind].derive_thresholds(values) for kind, values in null.items()
        }

    def _load_index(self, folder: Path) -> CodeIndex:
        """Loads the index of codes, or builds it."""
        complete = folder / "complete"
        stored = files.read_cached(complete, lambda _: CodeIndex.load(folder, self.size))
        if stored is not None:
            return stored
        complete.unlink(missing_ok=True)
        progress, tracks = Progress("codes, tracks", len(self.tracks)), []
        for i in range(len(self.tracks)):
            tracks.append(self.dataset.read_codes("train", i, [LEVEL])[0])
            progress.update(i + 1)
        count = sum(map(len, tracks))
        print(f"sorting {count:,} codes; about {1 + count // 2_500_000} s", flush=True)
        CodeIndex.build(tracks, self.size).save(folder)
        complete.touch()
        return CodeIndex.load(folder, self.size)

    def _measure_heldout(self) -> dict[str, list[float]]:
        """Returns the evidence of seconds of held-out tracks, by kind."""
        available = len(self.dataset.tracks("heldout"))
        used = min(available, NULL_SECONDS // NULL_STRETCH)
        progress = Progress("held-out codes, tracks", used)
        count = round(NULL_SECONDS / max(used, 1) * CODE_RATE)
        kinds = ["run_bits"]
        if self._neighbors is not None:
            kinds += [kind for kind in RULES if kind.startswith("nearness")]
        values: dict[str, list[float]] = {kind: [] for kind in kinds}
        for i in range(used):
            codes = self.dataset.read_codes("heldout", i * available // used, [LEVEL])[0]
            first = max(len(codes) - count, 0) // 2
            for kind, each in self.find_evidence(codes[first : first + count]).items():
                values[kind] += each.values[np.isfinite(each.values)].tolist()
            progress.update(i + 1)
        return values

    def read_track(self, track: int) -> np.ndarray:
        """Returns the codes of a track, uint16 [time]."""
        return self._codes.track(track)

    def find_evidence(self, codes: np.ndarray) -> dict[str, Evidence]:
        """Returns the evidence for each second of codes [time].

        Raises:
          ValueError: a code is not in the codebook.
        """
        if codes.max(initial=0) >= self.size:
            raise ValueError(
                f"code {codes.max()} is beyond the {self.size} of {self.dataset.folder}: the codes "
                "were not made by the VQ-VAE of --training"
            )
        seconds = max(round(len(codes) / CODE_RATE), 1)
        result = {"run_bits": evidence.from_runs(self._codes.find_runs(codes), seconds, CODE_RATE)}
        if self._neighbors is not None:
            nearest = self._neighbors.find_nearest(codes)
            result |= evidence.from_nearest(nearest, self._codes, seconds, CODE_RATE)
        return result


def _save_arrays(path: Path, save: Callable[[io.BytesIO], None]) -> None:
    """Writes the arrays of `save` atomically."""
    buffer = io.BytesIO()
    save(buffer)
    files.write_buffer(path, buffer)
