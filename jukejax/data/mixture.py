"""Mixtures of corpora: several datasets as one, with a share of the training windows for each.

`data.folder` names them as `data/a:0.7,data/b:0.3`; a folder without a weight has weight 1. The
shares are independent of the sizes of the corpora, and hold in every step: see `MixedOrder`.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from jukejax.data import records
from jukejax.data.corpus import Dataset, open_dataset
from jukejax.data.dataset_file import SPLITS, Track
from jukejax.data.epochs import Order, count_windows
from jukejax.data.vocabularies import Vocabulary

PRECISION = 10**6  # largest denominator of a share


@dataclass(frozen=True)
class Mixture(Dataset):
    """Reads several datasets of one kind as one; their tracks follow each other.

    Names of tracks begin with the folder of their dataset. `info` is that of the first dataset.

    Attributes:
      parts: the datasets.
      shares: of the training windows, by dataset; their sum is 1.
    """

    parts: tuple[Dataset, ...] = ()
    shares: tuple[Fraction, ...] = ()

    @property
    def corpus_hash(self) -> str:
        """Returns the sha256 of the datasets' hashes and shares."""
        pairs = zip(self.parts, self.shares, strict=True)
        table = [[part.corpus_hash, str(share)] for part, share in pairs]
        return hashlib.sha256(json.dumps(table).encode()).hexdigest()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Unites the names of the datasets, in alphabetical order."""
        vocabularies = [part.vocabulary for part in self.parts]
        united = Vocabulary.build(
            [name for each in vocabularies for name in each.artists],
            [name for each in vocabularies for name in each.genres],
        )
        characters = sorted({c for each in vocabularies for c in each.characters})
        return dataclasses.replace(united, characters="".join(characters))

    @cached_property
    def _shards(self) -> dict[str, list[records.Shard]]:
        return {split: [s for part in self.parts for s in part._shards[split]] for split in SPLITS}

    @cached_property
    def _tracks(self) -> dict[str, tuple[Track, ...]]:
        return {split: self._join_tracks(split) for split in SPLITS}

    def _join_tracks(self, split: str) -> tuple[Track, ...]:
        tracks: list[Track] = []
        first_shard = 0
        for name, part in zip(_name_parts(self.parts), self.parts, strict=True):
            tracks += (
                dataclasses.replace(
                    track, name=f"{name}/{track.name}", shard=first_shard + track.shard
                )
                for track in part.tracks(split)
            )
            first_shard += len(part._shards[split])
        return tuple(tracks)

    def count_windows(self, split: str, size: int) -> list[int]:
        """Returns the windows of `size` samples of each dataset."""
        return [count_windows(part.tracks(split), size) for part in self.parts]


def _name_parts(parts: Sequence[Dataset]) -> list[str]:
    """Returns the names of the folders, or their paths if two have the same name."""
    names = [part.folder.name for part in parts]
    return names if len(set(names)) == len(names) else [str(part.folder) for part in parts]


@dataclass(frozen=True)
class MixedOrder:
    """Orders the windows of a mixture: visit by visit the dataset, and of it the next window.

    A dataset with share s has `floor(n s)` or, after others, one visit more or less of the first n:
    the shares hold in every batch. Each dataset has epochs of its own. Any visit can be computed
    without the ones before it, so that a resumed run continues exactly.

    Attributes:
      orders: of the windows of each dataset.
      first_windows: index of the first window of each dataset in the mixture.
    """

    orders: tuple[Order, ...]
    shares: tuple[Fraction, ...]
    first_windows: tuple[int, ...]

    def window(self, visit: int) -> int:
        """Returns the window of visit number `visit`, counted from 0."""
        part, visit_of_part = find_part(self.shares, visit)
        return self.first_windows[part] + self.orders[part].window(visit_of_part)

    def random(self, visit: int) -> np.random.Generator:
        """Returns the random number generator of a visit."""
        return self.orders[0].random(visit)


def find_part(shares: Sequence[Fraction], visit: int) -> tuple[int, int]:
    """Returns the dataset of a visit, and its number among the visits to that dataset.

    The first dataset has visit n if `floor((n + 1) s) > floor(n s)`; the other visits, counted on
    their own, are divided among the others in the same way.
    """
    rest = Fraction(1)
    for part, share in enumerate(shares[:-1]):
        own = share / rest
        earlier = math.floor(visit * own)
        if math.floor((visit + 1) * own) > earlier:
            return part, earlier
        visit -= earlier
        rest -= share
    return len(shares) - 1, visit


def make_order(dataset: Dataset, split: str, size: int, seed: int) -> "Order | MixedOrder":
    """Returns the order of the windows of `size` samples of a dataset or a mixture."""
    if not isinstance(dataset, Mixture):
        return Order(count_windows(dataset.tracks(split), size), seed)
    counts = dataset.count_windows(split, size)
    for part, count in zip(dataset.parts, counts, strict=True):
        if not count:
            raise ValueError(
                f"data.folder: {part.folder} has no {split} track of {size} samples or more"
            )
    orders = tuple(Order(count, seed) for count in counts)
    return MixedOrder(orders, dataset.shares, (0, *np.cumsum(counts)[:-1].tolist()))


def count_epoch(dataset: Dataset, split: str, size: int) -> int:
    """Counts the windows of an epoch; of a mixture those until a first dataset is used up."""
    if not isinstance(dataset, Mixture):
        return count_windows(dataset.tracks(split), size)
    counts = dataset.count_windows(split, size)
    return min(int(count / share) for count, share in zip(counts, dataset.shares, strict=True))


def parse_folders(text: str) -> list[tuple[str, float]]:
    """Parses `FOLDER:WEIGHT,FOLDER:WEIGHT` as (folder, weight); without a weight it is 1.

    Raises:
      ValueError: a weight is not positive, or a folder is named twice.
    """
    if "," in text and (Path(text) / "dataset.json").exists():
        return [(text, 1.0)]  # a comma in its name
    folders = [_parse_folder(part, text) for part in text.split(",")]
    names = [os.path.normpath(folder) for folder, _ in folders]
    if len(set(names)) < len(names):
        raise ValueError(f"data.folder={text} names a folder twice; give it one weight")
    return folders


def _parse_folder(part: str, text: str) -> tuple[str, float]:
    folder, _, number = part.strip().rpartition(":")
    try:
        weight = float(number)
    except ValueError:
        folder, weight = part.strip(), 1.0  # without a weight; the colon is of gs://
    if not folder:
        raise ValueError(
            f"data.folder={text} has an empty name; the form is FOLDER:WEIGHT,FOLDER:WEIGHT"
        )
    if not (weight > 0 and math.isfinite(weight)):
        raise ValueError(f"data.folder={text}: the weight of {folder} must be above 0")
    return folder, weight


def open_folders(text: str | os.PathLike) -> Dataset:
    """Opens the dataset or the mixture of `data.folder`.

    Raises:
      ValueError: a folder has no complete dataset, or two do not fit together.
    """
    folders = parse_folders(os.fspath(text))
    parts = tuple(open_dataset(folder) for folder, _ in folders)
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    for part in parts[1:]:
        _check_same(first, part)
    weights = [Fraction(weight).limit_denominator(PRECISION) for _, weight in folders]
    shares = [
        Fraction(weight / sum(weights)).limit_denominator(PRECISION) for weight in weights[:-1]
    ]
    references = set.intersection(*(set(part.table.references) for part in parts))
    table = dataclasses.replace(first.table, references=tuple(sorted(references)))
    return Mixture(Path(text), first.info, table, parts, (*shares, 1 - sum(shares, Fraction(0))))


def _check_same(first: Dataset, other: Dataset) -> None:
    """Checks that two datasets may be mixed; `training` checks the VQ-VAEs of their codes.

    Raises:
      ValueError: they may not; names the folder and both values.
    """
    for name in ("kind", "sample_rate", "hops", "codebook_size"):
        values = getattr(first.table, name), getattr(other.table, name)
        if values[0] != values[1]:
            raise ValueError(
                f"data.folder: {other.folder} has {name} {values[1]}, and {first.folder} "
                f"{values[0]}; only corpora of one kind can be mixed"
            )
