"""Shards to batches of windows: shuffled, cropped at random, shared out to processes, resumable.

The plan of an epoch is drawn first and costs nothing: which windows, in which order, each with
random numbers of its own for its crop and its blend. The plan is cut into global batches, of which
each process reads its own rows: however many they are, together they see what one would. Batches
are read each by one thread, straight into place. The state of an iterator is one integer, the same
on every process, and resuming is exact in mid-epoch.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Protocol

import grain
import numpy as np

from jukejax.data import corpus, labels, records
from jukejax.data.epochs import Example, Order, Windows, plan_windows
from jukejax.data.reading import read_codes, read_mono


class Labeller(Protocol):
    """What labels are written with: `labels.Vocabulary`, or a model's own list."""

    def artist_id(self, name: str) -> int: ...

    def genre_ids(self, genres: Sequence[str]) -> tuple[int, ...]: ...


def _iterate(
    windows: Windows,
    load: Callable[[list[Example]], dict[str, np.ndarray]],
    *,
    split: str,
    batch_size: int,
    seed: int,
    shuffle: bool,
    aug_shift: bool,
    aug_blend: bool = False,
    repeat: bool,
    rows: np.ndarray | None,
    num_threads: int,
) -> grain.DatasetIterator:
    """Batches of `load(examples)`, without the incomplete last one."""
    total = len(windows)
    if total < batch_size:
        raise ValueError(
            f"the {split} split has {total} windows and a batch needs {batch_size} "
            "(data.batch_size); make data.batch_size smaller, the windows shorter, or add music"
        )
    plan = grain.MapDataset.range(total)
    if repeat:
        plan = plan.repeat()
    if shuffle:
        augment = functools.partial(windows.draw, aug_shift=aug_shift, aug_blend=aug_blend)
        order = Order(total, seed)
        plan = plan.map_with_index(lambda i, _: augment(order.window(i), order.random(i)))
    else:
        plan = plan.map(lambda i: Example(i, windows.start(i, None)))

    def load_own(examples: list[Example]) -> dict[str, np.ndarray]:
        return load(examples if rows is None else [examples[row] for row in rows])

    batches = plan.batch(batch_size, drop_remainder=True, batch_fn=list).map(load_own)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    return iter(batches.to_iter_dataset(options))


def audio_windows(
    folder: str | os.PathLike,
    split: str,
    *,
    window: int,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = True,
    aug_shift: bool = True,
    aug_blend: bool = False,
    repeat: bool = True,
    rows: np.ndarray | None = None,
    num_threads: int = 2,
) -> grain.DatasetIterator:
    """Batches of mono audio.

    Args:
      folder: an audio dataset, the output of `prepare`.
      split: "train" or "heldout".
      window: samples per window.
      batch_size: windows in a global batch.
      shuffle: training: a global shuffle, new in each epoch. Otherwise consecutive windows in
        order, without augmentation.
      aug_shift: when shuffling: crop at random, anew in each epoch; else windows lie on a grid of
        their own length from the start of each track.
      aug_blend: when shuffling: mix the two channels of stereo tracks in random shares, left u and
        right 1 - u with u from U[0, 1), one draw an example; else their mean.
      repeat: go on for ever, with another shuffle each epoch.
      rows: which rows of each global batch to read, in this order; None: all.

    Returns:
      A grain iterator, with get_state and set_state, of {"audio": float32 [batch, window, 1],
      "track": int32 [batch]}.
    """
    dataset = _open(folder, "audio")
    tracks = dataset.tracks(split)
    windows = plan_windows(tracks, size=window, grid=1, split=split, key="data.window")

    def load(rows: list[Example]) -> dict[str, np.ndarray]:
        batch = np.empty((len(rows), window, 1), np.float32)
        track = windows.track[[row.window for row in rows]].astype(np.int32)
        for out, t, row in zip(batch[..., 0], track, rows, strict=True):
            read_mono(dataset, split, tracks[t], row.start, out, row.blend)
        return {"audio": batch, "track": track}

    return _iterate(
        windows,
        load,
        split=split,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        aug_shift=aug_shift,
        aug_blend=aug_blend,
        repeat=repeat,
        rows=rows,
        num_threads=num_threads,
    )


def code_windows(
    folder: str | os.PathLike,
    split: str,
    *,
    level: int,
    seq_len: int,
    batch_size: int,
    max_genres: int = 1,
    names: Labeller | None = None,
    seed: int = 0,
    shuffle: bool = True,
    aug_shift: bool = True,
    repeat: bool = True,
    rows: np.ndarray | None = None,
    num_threads: int = 2,
) -> grain.DatasetIterator:
    """Batches of codes with their labels, and the codes of the level above that condition them.

    Windows start on the grid of top-level codes (128 samples), so that levels line up. Labels count
    from the start of the piece, also where its first samples were cut off (`corpus.Track.offset`).

    Args:
      folder: a code dataset, the output of `encode`.
      level: 0 (finest), 1 or 2 (top).
      seq_len: codes per window, a multiple of the codes in one top-level code.
      max_genres: genres in a label.
      names: gives artists and genres their ids; None: the data set's own vocabulary.
      others: as in `audio_windows`.

    Returns:
      A grain iterator of {"codes": int32 [batch, seq_len], "labels": int32 [batch, 4 + max_genres],
      "track": int32 [batch]}, and at levels 0 and 1 "upper_codes": int32 [batch, seq_len // 4].
    """
    if level not in (0, 1, 2):
        raise ValueError(f"level {level} does not exist; levels are 0 (finest), 1 and 2 (top)")
    hop, grid = records.HOPS[level], records.HOPS[2]
    if seq_len <= 0 or seq_len * hop % grid:
        raise ValueError(
            f"seq_len {seq_len} at level {level} must be a multiple of {grid // hop}, so that "
            "windows hold whole top-level codes"
        )
    dataset = _open(folder, "codes")
    tracks = dataset.tracks(split)
    size = seq_len * hop
    windows = plan_windows(tracks, size=size, grid=grid, split=split, key="model.seq_len")
    names = dataset.vocabulary if names is None else names
    artists = [names.artist_id(track.artist) for track in tracks]
    genres = [names.genre_ids(track.genre) for track in tracks]
    levels = (level, level + 1) if level < 2 else (level,)

    def load(rows: list[Example]) -> dict[str, np.ndarray]:
        track = windows.track[[row.window for row in rows]].astype(np.int32)
        codes = [np.empty((len(rows), size // records.HOPS[k]), np.int32) for k in levels]
        label = np.empty((len(rows), labels.NUM_TIMING + max_genres), np.int32)
        for i, (t, row) in enumerate(zip(track, rows, strict=True)):
            read_codes(dataset, split, tracks[t], row.start, levels, [c[i] for c in codes])
            cut, stored = tracks[t].offset, tracks[t].samples
            label[i] = labels.label_vector(
                cut + stored, cut + row.start, size, artists[t], genres[t], max_genres
            )
        batch = {"codes": codes[0], "labels": label, "track": track}
        return batch | ({"upper_codes": codes[1]} if level < 2 else {})

    return _iterate(
        windows,
        load,
        split=split,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        aug_shift=aug_shift,
        repeat=repeat,
        rows=rows,
        num_threads=num_threads,
    )


def _open(folder: str | os.PathLike, kind: str) -> corpus.Dataset:
    dataset = corpus.open_dataset(folder)
    if dataset.kind != kind:
        made = {"audio": "prepare", "codes": "encode"}
        raise ValueError(
            f"{folder} holds {dataset.kind} (the output of {made[dataset.kind]}); {kind} is needed "
            f"here (the output of {made[kind]})"
        )
    return dataset
