"""Preparation of a dataset: from raw music to shards, vocabulary and corpus.json."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.common.formatting import format_count
from jukejax.common.progress import Progress
from jukejax.data import audio, corpus, decoding
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.preparation import (
    beam_runner,
    groups,
    local_runner,
    selection,
    separators,
    sources,
    storage,
    tfds_source,
)
from jukejax.preparation.job import Job
from jukejax.preparation.lyrics_source import read_lyrics_file
from jukejax.preparation.metadata import TrackLabels, file_key, read_metadata
from jukejax.preparation.prepared_track import PreparedTrack, Source
from jukejax.preparation.rules import Rules
from jukejax.preparation.summary import print_summary

LOWEST_RATE = 1000  # Hz


@dataclass(frozen=True)
class Settings:
    """Settings of a run of `prepare`; see the flags of the same names.

    Attributes:
      input: folder, "house", or "tfds:NAME".
      runner: "local" or "beam".
      workers: processes of the local runner; 0 means one per core.
      heldout: share of the groups of tracks, in [0, 1).
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
    runner: str = "local"
    workers: int = 0
    beam_options: str = ""
    tfds_data_dir: str | None = None
    house_tracks: int = 16
    house_seconds: float = 45.0
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


@dataclass(frozen=True)
class SourceList:
    """The sources of a run.

    Attributes:
      labels: labels from the sources, by `file_key`.
      ignored: number of other files, by suffix.
      unreadable: folders that cannot be read, with the reason.
    """

    sources: list[Source]
    labels: Mapping[str, TrackLabels] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    unreadable: Sequence[str] = ()


def prepare_dataset(settings: Settings) -> None:
    """Writes the dataset and prints a summary.

    Raises:
      ValueError: a setting is not possible, or there is no usable source.
    """
    settings.check()
    metadata = read_metadata(settings.metadata, settings.input) if settings.metadata else {}
    with _open_output(settings) as (output, cache):
        listing = find_sources(settings, cache)
        prepared = prepare_sources(listing.sources, settings, cache)
        prepared = selection.reject_copies(prepared)
        usable = selection.label_tracks(prepared, merge_labels(listing.labels, metadata))
        used = [track for track, _ in usable]
        group, links = selection.find_groups(used)
        heldout = groups.draw_heldout(
            [track.content for track in used],
            settings.heldout,
            group,
            [track.samples for track in used],
        )
        splits = [corpus.SPLITS[is_heldout] for is_heldout in heldout]
        table = {
            "separator": settings.separator.name,
            "separation": settings.separator.record(),
            **selection.describe_files(prepared, used, splits, group, links),
            "ignored": listing.ignored,
            "unreadable": listing.unreadable,
        }
        files.write_json(output / "corpus.json", table)
        if not usable:
            number = format_count(len(prepared), "file")
            raise ValueError(
                f"no readable audio in {settings.input}: {number}, for instance "
                f"{prepared[0].name}: {prepared[0].reason}; the others are in "
                f"{output / 'corpus.json'}"
            )
        dataset = write_dataset(
            output, usable, splits, settings.separator, sample_rate=settings.sample_rate
        )
        if cache == str(output / ".work"):
            _remove_stale_entries(Path(cache), prepared, settings.input)
        names = {file_key(source.name) for source in listing.sources}
        missing = [name for name in metadata if name not in names]
        print_summary(settings.output, table, dataset, missing)


@contextlib.contextmanager
def _open_output(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Yields the local folder to write to, locked against a second `prepare`, and the cache.

    For an output in a bucket the folder is a temporary one, uploaded at the end; the bucket is not
    locked.
    """
    if settings.cache and not storage.is_remote(settings.cache):
        if Path(settings.cache).is_file():
            raise ValueError(f"--cache={settings.cache} is a file; give a folder")
        Path(settings.cache).mkdir(parents=True, exist_ok=True)
    if not storage.is_remote(settings.output):
        with files.lock_output(Path(settings.output), "prepare") as work:
            yield Path(settings.output), settings.cache or str(work)
        return
    with tempfile.TemporaryDirectory(prefix="jukejax-") as folder:
        yield Path(folder), settings.cache or storage.join_path(settings.output, ".work")
        _upload_dataset(Path(folder), settings.output)


def _upload_dataset(folder: Path, output: str) -> None:
    """Copies a dataset into a bucket, dataset.json last, which marks it as complete."""
    paths = sorted(folder.iterdir(), key=lambda path: (path.name == "dataset.json", path.name))
    progress = Progress("copying", len(paths))
    for done, path in enumerate(paths, start=1):
        storage.upload(path, storage.join_path(output, path.name))
        progress.update(done, path.name)


def find_sources(settings: Settings, cache: str) -> SourceList:
    """Lists the sources of `settings.input`.

    Raises:
      ValueError: there are none.
    """
    kind, _, name = settings.input.partition(":")
    if settings.input == "house":
        return SourceList(
            sources.list_house_tracks(
                settings.house_tracks,
                settings.house_seconds,
                settings.seed,
                settings.house_tempo,
                vocals=settings.house_vocals,
                instruments=settings.house_instruments,
                lyrics=settings.house_lyrics,
            )
        )
    if kind == "tfds":
        return SourceList(
            *tfds_source.export_sources(
                name, cache, data_dir=settings.tfds_data_dir, progress=_TfdsProgress()
            )
        )
    listing = sources.find_files(settings.input)
    if not listing.sources:
        unreadable = "".join(f"; cannot read {folder}" for folder in listing.unreadable)
        number = format_count(sum(listing.ignored.values()), "file")
        raise ValueError(
            f"no music in {settings.input}: of its {number} none ends "
            f"in {' '.join(sorted(decoding.EXTENSIONS))}{unreadable}"
        )
    labels = {file_key(name): read_sidecar(path) for name, path in listing.lyrics.items()}
    return SourceList(listing.sources, labels, listing.ignored, listing.unreadable)


def read_sidecar(path: str) -> TrackLabels:
    """Reads the file of lyrics beside a sound; one that cannot be used is a note for the user."""
    try:
        return TrackLabels(lyrics=read_lyrics_file(path))
    except ValueError as error:
        return TrackLabels(notes=[f"{error}; it is not used"])


def merge_labels(
    labels: Mapping[str, TrackLabels], metadata: Mapping[str, TrackLabels]
) -> dict[str, TrackLabels]:
    """Returns the labels of the metadata file, else those of the sources, by `file_key`.

    Files without lyrics in the metadata keep those of the source.
    """
    merged = {**labels, **metadata}
    for key in labels.keys() & metadata.keys():
        if not metadata[key].lyrics.text:
            source = labels[key]
            merged[key] = replace(metadata[key], lyrics=source.lyrics, notes=source.notes)
    return merged


class _TfdsProgress:
    """Reports the progress of reading from TFDS; the total is known after the first example."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._progress is None:
            self._progress = Progress("reading from TFDS", total)
        self._progress.update(done)


def prepare_sources(
    to_prepare: Sequence[Source], settings: Settings, cache: str
) -> list[PreparedTrack]:
    """Prepares the sources with the runner of the settings; returns results in their order."""
    job = Job(settings.separator, cache, settings.rules)
    if settings.runner == "beam":
        number = format_count(len(to_prepare), "track")
        print(f"preparing {number} with Beam {settings.beam_options}".rstrip())
        return beam_runner.prepare_with_beam(to_prepare, job, options=settings.beam_options)
    workers = settings.workers
    if settings.separator.method == "spleeter" and separators.uses_accelerator():
        workers = 1
    progress = Progress("preparing", len(to_prepare))
    return local_runner.prepare_locally(to_prepare, job, workers=workers, progress=progress.update)


def write_dataset(
    output: Path,
    usable: Sequence[tuple[PreparedTrack, corpus.Track]],
    splits: Sequence[str],
    separator: separators.Separator,
    *,
    sample_rate: int,
) -> corpus.Dataset:
    """Writes cached tracks to shards, resampled to `sample_rate`.

    Args:
      splits: of each usable track.
    """
    vocabulary = Vocabulary.build(
        [track.artist for _, track in usable],
        [genre for _, track in usable for genre in track.genre],
        [track.lyrics for _, track in usable],
    )
    progress = Progress("writing", len(usable))
    with DatasetWriter(
        output,
        kind="audio",
        vocabulary=vocabulary,
        sample_rate=sample_rate,
        separator=separator.name,
        separation=separator.record(),
    ) as writer:
        for done, ((prepared, track), split) in enumerate(zip(usable, splits, strict=True), 1):
            with storage.local_copy(prepared.array) as path:
                sound = resample_track(np.load(path, mmap_mode="r"), sample_rate)
                grid = track.grid.scale(sample_rate / audio.SAMPLE_RATE)
                labeled = replace(track, first_downbeat=grid.first_downbeat)
                writer.add(split, labeled, audio=sound)
            progress.update(done)
    return corpus.open_dataset(output)


def resample_track(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Resamples a prepared track, int16 [time, channels] at 44.1 kHz."""
    if sample_rate == audio.SAMPLE_RATE:
        return sound
    blocks = map(audio.to_float, audio.iterate_blocks(sound))
    resampled = audio.resample_blocks(blocks, sound.shape[1], audio.SAMPLE_RATE, sample_rate)
    return np.concatenate([audio.to_int16(block) for block in resampled])


def _remove_stale_entries(cache: Path, prepared: Sequence[PreparedTrack], source: str) -> None:
    """Removes unused entries from a cache that belongs to this output only."""
    needed = {Path(track.array).stem for track in prepared if track.array} | {files.LOCK, "sources"}
    if source.startswith("tfds:"):
        needed.add("tfds")
    for path in cache.iterdir():
        if path.stem not in needed:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
