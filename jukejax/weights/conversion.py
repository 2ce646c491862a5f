"""Conversion of OpenAI's Jukebox weights, or of Hugging Face's copies of them, to a model bundle.

Every name and shape is checked before anything is written. The weights keep their float types, and
at most one checkpoint is in memory.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jukejax.common.config import to_plain
from jukejax.data import openai_labels
from jukejax.data.vocabularies import Vocabulary
from jukejax.models.prior_config import PriorConfig
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.weights import bundle, sources, stream
from jukejax.weights.codec_identity import Identity, identify_codec
from jukejax.weights.openai import parts, released
from jukejax.weights.part_configs import Config
from jukejax.weights.sources import ModelSource, PartSource

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
SAMPLE_RATE = 44100
HOPS = (8, 32, 128)  # sample rate of the released VQ-VAE, for a bundle without a VQ-VAE


@dataclass(frozen=True)
class ConversionOptions:
    """Options of a conversion.

    Attributes:
      layout: of the input, "openai" or "huggingface".
      inputs: files or folders.
      output: folder of the new bundle.
      model: name of a released model, for its configs; None: the most similar one.
      config_files: configs of single parts, see `released.read_config`.
      artist_lists, genre_lists: OpenAI's lists of names, of which the fitting one is used.
      dtype: of the priors, a key of `DTYPES`; None keeps that of the input.
      license: license of the weights, if the input has none.
    """

    layout: str
    inputs: Sequence[str]
    output: Path
    license: str
    model: str | None = None
    config_files: Sequence[str] = ()
    artist_lists: Sequence[str] = ()
    genre_lists: Sequence[str] = ()
    dtype: str | None = None


class Conversion:
    """Converts the weights of a model to a bundle."""

    def __init__(self, options: ConversionOptions):
        self.options = options

    def run(self) -> list[str]:
        """Writes the bundle and returns the names of its parts.

        A bundle of the same options is complete, such as that of a process killed at its end.

        Raises:
          ValueError: the output holds another bundle, or a checkpoint does not fit; nothing is
            written.
        """
        options = self.options
        if bundle.is_bundle(options.output):
            if bundle.open_bundle(options.output).get("conversion") != self._describe_options():
                raise ValueError(f"{options.output} holds a bundle already; choose another folder")
            return sorted(path.parent.name for path in options.output.glob("*/config.json"))
        if options.layout == "openai":
            source = sources.open_openai_files(options.inputs)
        else:
            source = sources.open_transformers_folder(options.inputs)
        configs = self._check_parts(source)
        vocabularies = {
            part: self._choose_vocabulary(config, source.vocabulary(part))
            for part, config in configs.items()
            if isinstance(config, PriorConfig)
        }
        identity = self._write_parts(source, configs, vocabularies)
        facts = self._describe_bundle(source, configs, vocabularies)
        conversion = {"conversion": self._describe_options()}
        bundle.save_bundle(options.output, facts | {"vqvae": identity} | conversion)
        return sorted(configs)

    def _describe_options(self) -> dict[str, Any]:
        """Returns the options as JSON values, by which a finished conversion is recognized."""
        return to_plain(self.options) | {"output": None}

    def _check_parts(self, source: ModelSource) -> dict[str, Config]:
        """Returns the config of each part, after checking that all its tensors fit."""
        configs = {}
        for name, part in source.parts.items():
            state = part.load()
            config, reason = self._choose_config(name, part, state)
            _check_kind(name, part.path, config, state)
            try:
                parts.plan_part(config, state)
            except ValueError as error:
                raise ValueError(f"{part.path}: {error} (read {reason})") from error
            configs[name] = config
            print(f"{name}: {part.path}, {reason}", file=sys.stderr)
        return configs

    def _choose_config(
        self, name: str, part: PartSource, state: stream.State
    ) -> tuple[Config, str]:
        """Returns (config of a part, reason for the choice in words).

        The options have precedence, then the config beside the checkpoint, then that of the most
        similar released model.
        """
        by_part = dict(map(released.read_config, self.options.config_files))
        if name in by_part:
            return by_part[name], "by --config"
        model = self.options.model
        if model is not None:
            configs = released.load_configs(model)
            if name not in configs:
                raise ValueError(f"{model} has no {name}, but {part.path} is one; add its --config")
            return configs[name], f"as {model}"
        if part.config is not None:
            return part.config, "by the config beside it"
        variant, config = released.guess_variant(name, state)
        return config, f"as {variant}, the most similar; --model or --config override it"

    def _choose_vocabulary(self, config: PriorConfig, stored: dict | None) -> dict:
        """Returns the names of artists and genres of a prior, from the lists whose sizes fit it."""
        artist_lists, genre_lists = self.options.artist_lists, self.options.genre_lists
        if config.labels is None or not (artist_lists or genre_lists):
            return stored or Vocabulary().plain()
        versions = openai_labels.Version
        return openai_labels.OpenAIVocabulary(
            versions.V3 if config.labels.max_genres == 1 else versions.V2,
            _read_fitting_list(artist_lists, config.labels.num_artists, "artists", config.level),
            _read_fitting_list(genre_lists, config.labels.num_genres, "genres", config.level),
        ).plain()

    def _write_parts(
        self, source: ModelSource, configs: dict[str, Config], vocabularies: dict[str, dict]
    ) -> Identity:
        """Writes every part, the VQ-VAE first: the priors' descriptions hold its identity.

        Returns:
          The identity of the VQ-VAE; without one its hash is None.
        """
        sample_rate = _sample_rate(source, configs)
        identity: Identity = {"hash": None}
        for name in sorted(configs, reverse=True):
            config, folder = configs[name], self.options.output / name
            if isinstance(config, VQVAEConfig):
                description = _describe_vqvae(config, sample_rate)
                self._write_part(folder, config, source.parts[name].load(), description)
                identity = identify_codec(bundle.load_part(folder)[1])
            else:
                description = _describe_prior(config, identity, vocabularies[name])
                self._write_part(folder, config, source.parts[name].load(), description)
        return identity

    def _write_part(
        self, folder: Path, config: Config, state: stream.State, description: dict
    ) -> None:
        dtype = None
        if self.options.dtype is not None and isinstance(config, PriorConfig):
            dtype = DTYPES[self.options.dtype]
        leaves = parts.plan_part(config, state, dtype)
        averages = parts.restore_codebooks(leaves, state)
        stream.write_part(folder, description, leaves, state, averages)
        print(f"{folder.name} written", file=sys.stderr)

    def _describe_bundle(
        self, source: ModelSource, configs: dict[str, Config], vocabularies: dict[str, dict]
    ) -> dict:
        """Returns the content of model.json; its vocabulary is that of the top level."""
        levels = sorted(
            config.level for config in configs.values() if isinstance(config, PriorConfig)
        )
        vqvae = configs.get("vqvae")
        paths = dict.fromkeys(str(source.parts[part].path) for part in sorted(source.parts))
        origins = [f"converted from {self.options.layout}'s layout: {path}" for path in paths]
        return {
            "sample_rate": _sample_rate(source, configs),
            "hops": list(vqvae.hops if isinstance(vqvae, VQVAEConfig) else HOPS),
            "levels": levels,
            "vocabulary": vocabularies[f"level_{levels[-1]}"] if levels else Vocabulary().plain(),
            "license": source.facts.get("license") or self.options.license,
            "provenance": [*source.facts.get("provenance", []), *origins],
        }


def _check_kind(name: str, path: Path, config: Config, state: stream.State) -> None:
    """Checks that a checkpoint is of the kind that its name promises.

    Raises:
      ValueError: it is that of another part, such as a VQ-VAE in place of a prior.
    """
    expected = "a VQ-VAE"
    if isinstance(config, PriorConfig):
        expected = "a top prior" if config.upper is None else "an upsampler"
    prefixes = {
        "a VQ-VAE": "encoders.", "an upsampler": "conditioner_blocks.", "a top prior": "prior.",
    }  # fmt: skip
    kinds = [kind for kind, prefix in prefixes.items() if any(k.startswith(prefix) for k in state)]
    if kinds and kinds[0] != expected:
        raise ValueError(
            f"{path} holds {kinds[0]}, but {name} is {expected} here; give the file of that part"
        )


def _read_fitting_list(paths: Sequence[str], count: int, noun: str, level: int) -> dict[str, int]:
    """Reads the first of OpenAI's lists with `count` ids."""
    lists = {path: openai_labels.read_ids(path) for path in paths}
    sizes = {path: openai_labels.count_rows(ids) for path, ids in lists.items()}
    for path, size in sizes.items():
        if size == count:
            return lists[path]
    candidates = ", ".join(f"{path} has {size}" for path, size in sizes.items()) or "none is given"
    raise ValueError(f"level {level} has {count} {noun}, but no list fits: {candidates}")


def _sample_rate(source: ModelSource, configs: dict[str, Config]) -> int:
    rates = [
        config.labels.sample_rate
        for config in configs.values()
        if isinstance(config, PriorConfig) and config.labels
    ]
    return source.facts.get("sample_rate") or (rates[0] if rates else SAMPLE_RATE)


# The descriptions of parts have the format of training runs.


def _describe_vqvae(config: VQVAEConfig, sample_rate: int) -> dict:
    return {
        "kind": "vqvae",
        "config": to_plain(config),
        "hops": list(config.hops),
        "sample_rate": sample_rate,
    }


def _describe_prior(config: PriorConfig, identity: Identity, vocabulary: dict) -> dict:
    return {
        "kind": "prior",
        "level": config.level,
        "config": to_plain(config),
        "vqvae": identity,
        "vocabulary": vocabulary,
    }
