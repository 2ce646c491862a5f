"""Preparation of a dataset: from raw music to shards, vocabulary and corpus.json."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jukejax.common import files, output_locks, storage
from jukejax.common.formatting import format_count
from jukejax.common.progress import Progress
from jukejax.data import audio, corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.preparation import (
    beam_runner,
    groups,
    local_runner,
    selection,
    separators,
)
from jukejax.preparation.job import Job
from jukejax.preparation.metadata import file_key, read_metadata
from jukejax.preparation.prepared_track import PreparedTrack, Source
from jukejax.preparation.settings import Settings
from jukejax.preparation.shifts import LONGEST, Shift
from jukejax.preparation.source_list import find_sources, merge_labels
from jukejax.preparation.summary import print_summary


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
            output,
            usable,
            splits,
            settings.separator,
            sample_rate=settings.sample_rate,
            shifts=settings.shifts,
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
        with output_locks.lock_output(Path(settings.output), "prepare") as work:
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
    shifts: Sequence[Shift] = (),
) -> corpus.Dataset:
    """Writes cached tracks to shards, resampled to `sample_rate`.

    Args:
      splits: of each usable track.
      shifts: changes of pitch or tempo, with a copy of each training track for each.
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
                sound = np.load(path, mmap_mode="r")
                _add_track(writer, split, track, sound, sample_rate)
                is_copied = split == "train" and len(sound) <= LONGEST * audio.SAMPLE_RATE
                for shift in shifts if is_copied else ():
                    changed = shift.change_sound(sound)
                    _add_track(writer, split, shift.change_labels(track), changed, sample_rate)
            progress.update(done)
    return corpus.open_dataset(output)


def _add_track(
    writer: DatasetWriter, split: str, track: corpus.Track, sound: np.ndarray, sample_rate: int
) -> None:
    """Resamples a track, int16 [time, channels] at 44.1 kHz, and writes it with its labels."""
    labeled = track.with_grid(track.grid.scale(sample_rate / audio.SAMPLE_RATE))
    writer.add(split, labeled, audio=resample_track(sound, sample_rate))


def resample_track(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Resamples a prepared track, int16 [time, channels] at 44.1 kHz."""
    if sample_rate == audio.SAMPLE_RATE:
        return sound
    blocks = map(audio.to_float, audio.iterate_blocks(sound))
    resampled = audio.resample_blocks(blocks, sound.shape[1], audio.SAMPLE_RATE, sample_rate)
    return np.concatenate([audio.to_int16(block) for block in resampled])


def _remove_stale_entries(cache: Path, prepared: Sequence[PreparedTrack], source: str) -> None:
    """Removes unused entries from a cache that belongs to this output only."""
    needed = {Path(track.array).stem for track in prepared if track.array} | {
        output_locks.LOCK,
        "sources",
    }
    if source.startswith("tfds:"):
        needed.add("tfds")
    for path in cache.iterdir():
        if path.stem not in needed:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
