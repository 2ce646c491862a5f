"""Checks of a model that may come from strangers: its description, and its weights against it.

Sizes are compared with the header of the weights before a config is built, a model traced or an
array allocated.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.data import vocabularies
from jukejax.data.lyrics import find_alphabet
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.weights import bundle, part_configs, stream
from jukejax.weights.headers import TensorEntry

# Largest values of a config, in addition to the number of weights.
_MAXIMA = {"num_layers": 10_000, "depth": 1000, "downs": 32, "strides": 1 << 12, "stride": 1 << 12}
_MAXIMA |= {"depths": 1000, "span": 1 << 12}
_MAXIMA |= {"multipliers": 1000, "max_genres": 1000, "channels": 64, "num_heads": 10_000}
_SIZES = {"emb_dim", "seq_len", "num_blocks", "codebook_size", "vocab_size", "width", "num_tokens"}
_SIZES |= {"num_artists", "num_genres", "widths", *_MAXIMA}
_PRODUCTS = (  # of sizes that are no larger than the number of weights
    ("depth", "width", "width"),
    ("num_layers", "emb_dim"),
    ("codebook_size", "emb_dim"),
    ("seq_len", "emb_dim"),
)
_BLOCK = 1 << 18  # numbers that are checked at once, within a CPU's cache


@dataclass(frozen=True)
class VQVAEDescription:
    """The description of a VQ-VAE."""

    kind: str
    config: dict[str, Any]
    hops: tuple[int, ...]
    sample_rate: int


@dataclass(frozen=True)
class PriorDescription:
    """The description of a prior."""

    kind: str
    level: int
    config: dict[str, Any]
    vocabulary: dict[str, Any]
    vqvae: dict[str, Any] | None = None


def check_description(description: Mapping[str, Any], path: Path) -> None:
    """Checks the fields of a model's description, except for the content of its config.

    Raises:
      ValueError: a field is missing or wrong; the message names file, field and value.
    """
    kinds: dict[Any, type[VQVAEDescription | PriorDescription]]
    kinds = {"vqvae": VQVAEDescription, "prior": PriorDescription}
    kind = description.get("kind")
    if kind not in kinds:
        raise ValueError(f"{path}.kind is {kind!r}, not one of {', '.join(kinds)}")
    checked: VQVAEDescription | PriorDescription = freeze(
        kinds[kind], description, str(path), ignore_unknown=True
    )
    if isinstance(checked, VQVAEDescription) and checked.sample_rate < 1:
        raise ValueError(f"{path}.sample_rate is {checked.sample_rate}, must be positive")


def parse_config(description: Mapping[str, Any], path: Path) -> part_configs.Config:
    """Builds the config in a description, and checks that both agree.

    Raises:
      ValueError: it is wrong; the message names file, field and value.
    """
    try:
        name, config = part_configs.parse_description(description)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{path}: {error}") from error
    if isinstance(config, VQVAEConfig):
        if list(description["hops"]) != list(config.hops):
            raise ValueError(f"{path}.hops is {description['hops']}, by its config {config.hops}")
        return config
    if description["level"] != config.level:
        raise ValueError(f"{path}.level is {description['level']}, and its config is of {name}")
    vocabulary = vocabularies.parse_vocabulary(description["vocabulary"], f"{path}.vocabulary")
    if config.labels is not None:
        for kind in ("artists", "genres"):
            rows = vocabularies.count_rows(getattr(vocabulary, kind))
            size = getattr(config.labels, f"num_{kind}")
            if rows > size:
                raise ValueError(f"{path}.vocabulary has {rows} {kind}, the model {size}")
    if config.lyrics is not None and config.lyrics.alphabet:
        characters = getattr(vocabulary, "characters", "")
        size = find_alphabet(config.lyrics.alphabet, 0, characters).size
        if size != config.lyrics.vocab_size:
            raise ValueError(
                f"{path} has {size} lyric tokens in its alphabet {config.lyrics.alphabet}, the "
                f"model {config.lyrics.vocab_size}"
            )
    return config


def check_sizes(config: Mapping[str, Any], entries: Mapping[str, TensorEntry], path: Path) -> None:
    """Checks that no size in a config is larger than the number of weights allows.

    Raises:
      ValueError: a size is impossible; the message names file, field and value.
    """
    weights = sum(entry.size for entry in entries.values())
    for where, level in _iterate_objects(config, f"{path}.config"):
        for name in _SIZES & level.keys():
            least, most = int(name != "downs"), min(_MAXIMA.get(name, weights), weights)
            values = level[name] if isinstance(level[name], list | tuple) else [level[name]]
            for value in values:
                if isinstance(value, int) and not least <= value <= most:
                    raise ValueError(f"{where}.{name} is {value}, not {least} to {most}")
        for names in _PRODUCTS:
            factors = [level.get(name) for name in names]
            product = math.prod(factor for factor in factors if isinstance(factor, int))
            if product > weights:
                sizes = ", ".join(
                    f"{name} {level[name]}" for name in dict.fromkeys(names) if name in level
                )
                raise ValueError(f"{where} has {sizes}, and its file {weights:,} weights")


def _iterate_objects(value: Mapping, where: str) -> Iterator[tuple[str, Mapping]]:
    """Yields an object of a JSON file and all objects in it, with their names."""
    yield where, value
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _iterate_objects(inner, f"{where}.{key}")


def check_shapes(
    config: part_configs.Config, entries: Mapping[str, TensorEntry], path: Path
) -> None:
    """Checks that a file has the tensors of a model, by names and shapes.

    Raises:
      ValueError: a tensor is missing, unknown or of another shape; the message names it.
    """
    shapes = stream.flatten_shapes(part_configs.find_part_shapes(config))
    sums = {name for name in shapes if name.endswith("/codebook_sum")}  # may follow from the counts
    for name in sorted((entries.keys() ^ shapes.keys()) - (sums - entries.keys())):
        verb = "lacks" if name in shapes else "holds"
        raise ValueError(f"{path} {verb} {name}, unlike the model of its config.json")
    for name, shape in shapes.items():
        if name in entries and entries[name].shape != shape:
            raise ValueError(
                f"{path}: {name} has the shape {entries[name].shape}, and by its config.json "
                f"{shape}"
            )


def check_finite(weights: Tree, path: Path) -> None:
    """Checks that no weight is infinite or not a number, in one pass.

    Raises:
      ValueError: there is one; the message names the tensor.
    """
    for name, value in bundle.flatten_weights(weights).items():
        if not _is_finite(value):
            raise ValueError(
                f"{path}: {name} holds NaN or infinity; export the model from a sound checkpoint"
            )


def _is_finite(value: np.ndarray) -> bool:
    """Returns true if all numbers are finite: no exponent has all of its bits set.

    NOTE: `np.isfinite` takes eight times as long for float16, and allocates its result.
    """
    if value.dtype not in stream.FLOATS:
        return True
    infinity = np.asarray(np.inf, value.dtype).view(f"u{value.itemsize}")[()]
    bits = value.reshape(-1).view(f"u{value.itemsize}")
    return all(
        (bits[start : start + _BLOCK] & infinity).max() < infinity
        for start in range(0, len(bits), _BLOCK)
    )
