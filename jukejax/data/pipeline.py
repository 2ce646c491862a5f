"""Batches of windows from shards: shuffled, randomly cropped, split between processes, resumable.

The plan of an epoch is drawn first: the order of the windows, and for each the random numbers of
its crop and its blend. It is divided into global batches, of which each process reads its own rows,
so that batches do not depend on the number of processes. Each batch is read by one thread into its
final arrays. The state of an iterator is one integer, the same on every process; resuming in
mid-epoch is exact.

Letters: B rows of this process in a batch, T window length (in samples or codes), G max_genres.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grain
import numpy as np

from jukejax.common.formatting import format_count
from jukejax.data import corpus, mixture, records
from jukejax.data.epochs import (
    Augmentation,
    Example,
    Windows,
    cut_windows_of_tracks,
    spread_windows,
)
from jukejax.data.labels import FIRST_GENRE, LabelSizes, make_label_vector
from jukejax.data.lyrics import LyricsReader
from jukejax.data.reading import change_level, fill_audio_window, fill_code_window
from jukejax.data.references import join_reference
from jukejax.data.track_labels import SplitLabels, encode_track_labels
from jukejax.data.vocabularies import LabelIds

Batch = dict[str, np.ndarray]

# Config keys that set the window length, for messages.
AUDIO_KEY = "data.window"
CODE_KEY = "model.seq_len"


@dataclass(frozen=True)
class Batching:
    """Order, augmentation and batching of windows.

    Attributes:
      batch_size: windows in a global batch.
      shuffle: for training: a global shuffle, new in each epoch. Otherwise consecutive windows in
        order, without augmentation.
      aug_shift, aug_blend, aug_gain, aug_mute: when shuffling: see `epochs.Augmentation`; the last
        two are for audio.
      repeat: iterate without end, with another shuffle in each epoch.
      limit: without shuffle and repetition: largest number of batches, whose windows are spread
        over tracks and positions (see `spread_windows`); None: as many as there are windows for.
      rows: indices of the rows of each global batch to read, in this order; None: all.
    """

    batch_size: int
    seed: int = 0
    shuffle: bool = True
    aug_shift: bool = True
    aug_blend: bool = False
    aug_gain: float = 0.0
    aug_mute: float = 0.0
    repeat: bool = True
    rows: np.ndarray | None = None
    limit: int | None = None
    num_threads: int = 2

    def select_rows(self, examples: list[Example]) -> list[Example]:
        """Returns the examples of a global batch that this process reads."""
        return examples if self.rows is None else [examples[row] for row in self.rows]


@dataclass(frozen=True)
class AudioReader:
    """Reads batches of mono audio."""

    dataset: corpus.Dataset
    split: str
    windows: Windows

    def read_batch(self, examples: Sequence[Example]) -> Batch:
        """Returns {"audio": float32 [B, T, 1], "track": int32 [B]}."""
        tracks = self.dataset.tracks(self.split)
        audio = np.empty((len(examples), self.windows.size, 1), np.float32)
        track = self.windows.tracks_of(examples)
        for out, t, example in zip(audio[..., 0], track, examples, strict=True):
            fill_audio_window(
                self.dataset, self.split, tracks[t], example.start, out, example.blend
            )
            change_level(out, example.gain, example.mute)
        return {"audio": audio, "track": track}


@dataclass(frozen=True)
class CodeReader:
    """Reads batches of codes with their labels.

    Attributes:
      level: of the codes; below the top level the codes of the level above are read as well.
      labels: label ids of each track of the split.
      reference: the reference of the level is read as well.
    """

    dataset: corpus.Dataset
    split: str
    windows: Windows
    level: int
    labels: SplitLabels
    reference: bool = False

    def read_batch(self, examples: Sequence[Example]) -> Batch:
        """Returns {"codes": int32 [B, T], "labels": int32 [B, N], "track": int32 [B]}.

        Below the top level also "upper_codes": int32 [B, T // ratio], or with a reference
        [B, T // ratio, 1 + ratio] (`data.references`).
        """
        tracks, size = self.dataset.tracks(self.split), self.windows.size
        hops = self.dataset.table.hops
        own, upper = records.name_level(self.level), records.name_level(self.level + 1)
        reference = records.name_reference(self.level)
        levels = {own: self.level}
        if self.level + 1 < len(hops):
            levels[upper] = self.level + 1
        if self.reference:
            levels[reference] = self.level
        track = self.windows.tracks_of(examples)
        codes = {
            name: np.empty((len(examples), size // hops[level]), np.int32)
            for name, level in levels.items()
        }
        label = np.empty((len(examples), self.labels.width), np.int32)
        genres_end = FIRST_GENRE + self.labels.max_genres
        lyrics_start = self.labels.width - self.labels.num_lyrics
        for i, (t, example) in enumerate(zip(track, examples, strict=True)):
            rows = {name: array[i] for name, array in codes.items()}
            fill_code_window(self.dataset, self.split, tracks[t], example.start, rows)
            # Labels are relative to the start of the piece, even if its first samples are not
            # stored.
            cut = tracks[t].offset
            place = cut + tracks[t].samples, cut + example.start, size
            names = self.labels.artists[t], self.labels.genres[t], self.labels.max_genres
            label[i, :genres_end] = make_label_vector(*place, *names)
            if self.labels.grids is not None:
                rate, grid = self.dataset.table.sample_rate, self.labels.grids[t]
                sizes = self.labels.cycle_bars, self.labels.num_sections
                entries = grid.make_entries(example.start, hops[self.level], rate, *sizes)
                label[i, genres_end:lyrics_start] = entries
            if self.labels.lyrics_reader is not None:
                reader, tokens = self.labels.lyrics_reader, self.labels.lyrics[t]
                label[i, lyrics_start:] = reader.read_window(tokens, *place)
        batch = {"codes": codes[own], "labels": label, "track": track}
        if upper in codes:
            batch["upper_codes"] = codes[upper]
        if self.reference:
            batch["upper_codes"] = join_reference(codes[upper], codes[reference])
        return batch


def read_audio_batches(
    folder: str | os.PathLike, split: str, *, window: int, batching: Batching
) -> grain.DatasetIterator:
    """Reads batches of mono audio.

    Args:
      folder: an audio dataset, the output of `prepare`, or a mixture (`data.mixture`).
      split: "train" or "heldout".
      window: samples per window.

    Returns:
      A grain iterator, with get_state and set_state, of `AudioReader.read_batch`.

    Raises:
      ValueError: the folder is no audio dataset, or has too few windows.
    """
    dataset = mixture.open_folders(folder)
    dataset.check_kind("audio")
    windows = cut_windows_of_tracks(
        dataset.tracks(split),
        size=window,
        grid=1,
        split=split,
        key=AUDIO_KEY,
        sample_rate=dataset.table.sample_rate,
    )
    reader = AudioReader(dataset, split, windows)
    return _iterate(dataset, windows, reader.read_batch, split, batching)


def read_code_batches(
    folder: str | os.PathLike,
    split: str,
    *,
    level: int,
    seq_len: int,
    batching: Batching,
    sizes: LabelSizes | None = None,
    vocabulary: LabelIds | None = None,
    lyrics_reader: LyricsReader | None = None,
    reference: bool = False,
) -> grain.DatasetIterator:
    """Reads batches of codes with their labels and the codes of the level above.

    Windows start on the grid of top-level codes (128 samples by default), so that levels line up.

    Args:
      folder: a code dataset, the output of `encode`, or a mixture (`data.mixture`).
      split: "train" or "heldout".
      level: 0 is the finest.
      seq_len: codes per window, a multiple of the codes in one top-level code.
      sizes: of the model's labels; None: it has none, and takes any number of genres.
      vocabulary: of the model; None: that of the dataset.
      lyrics_reader: of a model with lyrics; the labels then end with the tokens of each window.
      reference: read the reference of the level.

    Returns:
      A grain iterator, with get_state and set_state, of `CodeReader.read_batch`.

    Raises:
      ValueError: the folder is no code dataset, or has too few windows; a level or seq_len is not
        possible; or the model cannot take the labels of a track.
    """
    dataset = mixture.open_folders(folder)
    dataset.check_kind("codes")
    tracks, hops = dataset.tracks(split), dataset.table.hops
    _check_code_window(hops, level, seq_len)
    if reference and level not in dataset.table.references:
        raise ValueError(
            f"{folder} has no reference of level {level}, which model.upper.reference needs; run "
            f"encode again with --references={level}"
        )
    windows = cut_windows_of_tracks(
        tracks,
        size=seq_len * hops[level],
        grid=hops[-1],
        split=split,
        key=CODE_KEY,
        sample_rate=dataset.table.sample_rate,
    )
    vocabulary = dataset.vocabulary if vocabulary is None else vocabulary
    reader = CodeReader(
        dataset,
        split,
        windows,
        level,
        encode_track_labels(tracks, split, vocabulary, sizes, lyrics_reader),
        reference,
    )
    return _iterate(dataset, windows, reader.read_batch, split, batching)


def _check_code_window(hops: Sequence[int], level: int, seq_len: int) -> None:
    if level not in range(len(hops)):
        raise ValueError(
            f"level {level} does not exist; levels are 0 (finest) to {len(hops) - 1} (top)"
        )
    hop, grid = hops[level], hops[-1]
    if seq_len <= 0 or seq_len * hop % grid:
        raise ValueError(
            f"seq_len {seq_len} at level {level} must be a multiple of {grid // hop}, so that "
            "windows hold whole top-level codes"
        )


def _iterate(
    dataset: corpus.Dataset,
    windows: Windows,
    read_batch: Callable[[list[Example]], Batch],
    split: str,
    batching: Batching,
) -> grain.DatasetIterator:
    """Iterates over batches of `read_batch(examples)`, without the incomplete last one."""
    total, batch_size = len(windows), batching.batch_size
    if total < batch_size:
        raise ValueError(
            f"the {split} split has {format_count(total, 'window')} and a batch needs {batch_size} "
            "(data.batch_size); make data.batch_size smaller, the windows shorter, or add music"
        )
    if batching.shuffle:
        plan = grain.MapDataset.range(total)
        if batching.repeat:
            plan = plan.repeat()
        order = mixture.make_order(dataset, split, windows.size, batching.seed)
        changes = Augmentation(
            batching.aug_shift, batching.aug_blend, batching.aug_gain, batching.aug_mute
        )
        plan = plan.map_with_index(
            lambda i, _: windows.draw(order.window(i), order.random(i), changes)
        )
    else:
        batches = min(total // batch_size, batching.limit or total)
        chosen = spread_windows(windows, batches * batch_size)
        plan = grain.MapDataset.source(chosen)
        plan = plan.map(lambda i: Example(int(i), windows.start(int(i), None)))
    batches = plan.batch(batch_size, drop_remainder=True, batch_fn=list)
    batches = batches.map(lambda examples: read_batch(batching.select_rows(examples)))
    threads = batching.num_threads
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(batches.to_iter_dataset(options))
