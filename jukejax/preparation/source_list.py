"""The sources of a run of `prepare` with their labels: files, generated tracks, TFDS examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from jukejax.common.formatting import format_count
from jukejax.common.progress import Progress
from jukejax.data import decoding
from jukejax.preparation import sources, tfds_source
from jukejax.preparation.lyrics_source import read_lyrics_file
from jukejax.preparation.metadata import TrackLabels, file_key
from jukejax.preparation.prepared_track import Source
from jukejax.preparation.settings import Settings


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
