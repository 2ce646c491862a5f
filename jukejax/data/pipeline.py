"""Shards to batches of windows: shuffled, cropped at random, shared out to processes, resumable.

The plan of an epoch is drawn first and costs nothing: which windows, in which order, each with a
random number for its crop. Then whole batches are read, each by one thread, straight into place.
The state of an iterator is therefore one integer, and resuming is exact in mid-epoch.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import grain
import numpy as np

from jukejax.data import corpus, labels, records

_BLOCK = 16384  # samples converted at a time


@dataclass(frozen=True)
class Windows:
    """Every window of a split, in track order.

    Attributes:
      track: int64 [windows], index of the track.
      order: int64 [windows], place among the windows of that track.
      count: int64 [windows], how many windows that track has.
      starts: int64 [windows], how many different starts a crop of that track can have.
      size, grid: length of a window and the grid that its start keeps to, in samples.
    """

    track: np.ndarray
    order: np.ndarray
    count: np.ndarray
    starts: np.ndarray
    size: int
    grid: int

    def __len__(self) -> int:
        return len(self.track)

    def start(self, i: int, crop: float | None) -> int:
        """First sample of window `i`.

        Without a crop the windows of a track follow one another from its start. With `crop` in
        [0, 1) window `i` starts anywhere in its share of the possible starts, so that all windows
        of an epoch together cover each start equally often.
        """
        if crop is None:
            return int(self.order[i]) * self.size
        place = (int(self.order[i]) + crop) / int(self.count[i])
        return min(int(place * self.starts[i]), int(self.starts[i]) - 1) * self.grid


def plan_windows(
    tracks: tuple[corpus.Track, ...], *, size: int, grid: int, split: str, key: str
) -> Windows:
    """Cuts tracks into windows of `size` samples; tracks shorter than one window are left out.

    Args:
      key: the config key that sets the size, for the message if nothing is long enough.
    """
    samples = np.array([track.samples for track in tracks], np.int64)
    count = samples // size
    if not count.sum():
        longest = samples.max(initial=0) / 44100
        raise ValueError(
            f"none of the {len(tracks)} {split} tracks holds a window of {size} samples "
            f"({size / 44100:.2f} s; the longest has {longest:.2f} s); make {key} smaller or add "
            "longer tracks"
        )
    return Windows(
        track=np.repeat(np.arange(len(tracks)), count),
        order=np.concatenate([np.arange(n) for n in count]),
        count=np.repeat(count, count),
        starts=np.repeat((samples - size) // grid + 1, count),
        size=size,
        grid=grid,
    )


def _iterate(
    windows: Windows,
    load: Callable[[list[tuple[int, int]]], dict[str, np.ndarray]],
    *,
    split: str,
    batch_size: int,
    seed: int,
    shuffle: bool,
    repeat: bool,
    process_index: int,
    process_count: int,
    num_threads: int,
) -> grain.DatasetIterator:
    """Batches of `load([(window, start), ...])`, without the incomplete last one."""
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index {process_index} is not below {process_count} processes")
    total, needed = len(windows), batch_size * process_count
    if total < needed:
        raise ValueError(
            f"the {split} split has {total} windows and a batch needs {needed} "
            f"(data.batch_size {batch_size} x {process_count} processes); make data.batch_size "
            "smaller, the windows shorter, or add music"
        )
    plan = grain.MapDataset.range(total).seed(seed)
    if shuffle:
        plan = plan.shuffle()
    if not repeat:
        plan = plan[: total // needed * needed]  # every process gets as many batches
    plan = plan[process_index::process_count]
    if repeat:
        plan = plan.repeat()
    if shuffle:
        plan = plan.random_map(lambda i, rng: (i, windows.start(i, rng.random())))
    else:
        plan = plan.map(lambda i: (i, windows.start(i, None)))
    batches = plan.batch(batch_size, drop_remainder=True, batch_fn=list).map(load)
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
    repeat: bool = True,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
) -> grain.DatasetIterator:
    """Batches of mono audio.

    Args:
      folder: an audio dataset, the output of `prepare`.
      split: "train" or "heldout".
      window: samples per window.
      batch_size: windows in a batch of this process.
      shuffle: training: global shuffle and a random crop, new in each epoch. Otherwise consecutive
        windows in order.
      repeat: go on for ever, with another shuffle each epoch.
      process_index, process_count: this process's share; shares are disjoint.

    Returns:
      A grain iterator, with get_state and set_state, of {"audio": float32 [batch, window, 1],
      "track": int32 [batch]}.
    """
    dataset = _open(folder, "audio")
    tracks = dataset.tracks(split)
    windows = plan_windows(tracks, size=window, grid=1, split=split, key="data.window")

    def load(rows: list[tuple[int, int]]) -> dict[str, np.ndarray]:
        batch = np.empty((len(rows), window, 1), np.float32)
        track = windows.track[[i for i, _ in rows]].astype(np.int32)
        for row, (i, start) in enumerate(rows):
            _read_mono(dataset, split, tracks[windows.track[i]], start, batch[row, :, 0])
        return {"audio": batch, "track": track}

    return _iterate(
        windows,
        load,
        split=split,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        repeat=repeat,
        process_index=process_index,
        process_count=process_count,
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
    seed: int = 0,
    shuffle: bool = True,
    repeat: bool = True,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
) -> grain.DatasetIterator:
    """Batches of codes with their labels, and the codes of the level above that condition them.

    Windows start on the grid of top-level codes (128 samples), so that levels line up.

    Args:
      folder: a code dataset, the output of `encode`.
      level: 0 (finest), 1 or 2 (top).
      seq_len: codes per window, a multiple of the codes in one top-level code.
      max_genres: genres in a label; the rest of `audio_windows`' arguments mean the same.

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
    vocabulary = dataset.vocabulary
    artists = [vocabulary.artist_id(track.artist) for track in tracks]
    genres = [vocabulary.genre_ids(track.genre) for track in tracks]
    levels = (level, level + 1) if level < 2 else (level,)

    def load(rows: list[tuple[int, int]]) -> dict[str, np.ndarray]:
        track = windows.track[[i for i, _ in rows]].astype(np.int32)
        codes = [np.empty((len(rows), size // records.HOPS[k]), np.int32) for k in levels]
        label = np.empty((len(rows), labels.NUM_TIMING + max_genres), np.int32)
        for row, (i, start) in enumerate(rows):
            t = windows.track[i]
            _read_codes(dataset, split, tracks[t], start, levels, [c[row] for c in codes])
            label[row] = labels.label_vector(
                tracks[t].samples, start, size, artists[t], genres[t], max_genres
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
        repeat=repeat,
        process_index=process_index,
        process_count=process_count,
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


def _pieces(start: int, size: int):
    """(chunk, first sample in it, last + 1, where in the window) for each chunk of a window."""
    for chunk in range(start // records.CHUNK, math.ceil((start + size) / records.CHUNK)):
        base = chunk * records.CHUNK
        first, last = max(start, base), min(start + size, base + records.CHUNK)
        yield chunk, first - base, last - base, first - start


def _read_mono(
    dataset: corpus.Dataset, split: str, track: corpus.Track, start: int, out: np.ndarray
) -> None:
    """Fills `out`, float32 [window], with the mean of the channels."""
    scratch = np.empty((_BLOCK, track.channels), np.float32)
    mean = np.full(track.channels, 1 / (32768 * track.channels), np.float32)
    for chunk, first, last, at in _pieces(start, len(out)):
        piece = records.decode_audio(dataset.read_chunk(split, track, chunk))[first:last]
        into = out[at : at + last - first]
        # In blocks that stay in the processor's cache; a product is the fastest sum of pairs.
        for i in range(0, len(piece), _BLOCK):
            block = piece[i : i + _BLOCK]
            scratch[: len(block)] = block
            np.matmul(scratch[: len(block)], mean, out=into[i : i + _BLOCK])


def _read_codes(
    dataset: corpus.Dataset,
    split: str,
    track: corpus.Track,
    start: int,
    levels: tuple[int, ...],
    outs: list[np.ndarray],
) -> None:
    """Fills `outs[j]`, int32 [window of levels[j]]."""
    size = len(outs[0]) * records.HOPS[levels[0]]
    for chunk, first, last, at in _pieces(start, size):
        codes = records.decode_codes(dataset.read_chunk(split, track, chunk), levels)
        for k, code, out in zip(levels, codes, outs, strict=True):
            hop = records.HOPS[k]
            out[at // hop : (at + last - first) // hop] = code[first // hop : last // hop]
