"""A model bundle opened for sampling: codec, priors, vocabularies, rates."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jukejax.common.config import freeze
from jukejax.data import vocabularies
from jukejax.data.labels import find_excess
from jukejax.data.lyrics import LyricsReader, find_alphabet
from jukejax.data.openai_labels import OpenAIVocabulary
from jukejax.data.references import join_reference
from jukejax.data.vocabularies import Vocabulary
from jukejax.inference.codec import Codec
from jukejax.inference.conditioning import Labels, PriorWeights, prepare_weights
from jukejax.inference.weight_sharding import choose_mesh, make_mesh, shard_weights
from jukejax.models.prior_config import PriorConfig
from jukejax.runtime import precision
from jukejax.weights import bundle, loading
from jukejax.weights.codec_identity import check_priors


class Model:
    """Opens a bundle; priors are loaded one at a time, when their level is sampled.

    Args:
      dtype: of the computation; None: `precision.default_dtype`.
      weights: "int8" keeps the priors' matrices in eight bits.
      tensor: devices of this host that share the weights of a prior; 0: as few as hold them.
      memory_fraction: share of each device's memory that they may fill.

    Attributes:
      levels: levels that have a prior, ascending.
      hops: samples of a code, by level.
      sample_rate: of the audio, in Hz.
      sampling: settings that the bundle recommends, see `weights.recommended_settings`.
      hash: of all weights.
      dtype: of the computation.
      weights: "float", or "int8" for matrices in eight bits.
      codec: the VQ-VAE.
    """

    def __init__(
        self,
        folder: str | Path,
        dtype: str | None = None,
        weights: str = "float",
        tensor: int = 0,
        memory_fraction: float = 0.8,
    ):
        self.folder = Path(folder)
        description = bundle.open_bundle(folder)
        self.hops = description["hops"]
        self.levels = sorted(description["levels"])
        self.sample_rate = description["sample_rate"]
        self.sampling: Mapping[str, Any] = description.get("sampling") or {}
        self.hash = bundle.hash_bundle(folder)
        self.dtype = precision.compute_dtype(dtype or precision.default_dtype())
        self.weights = weights
        self._memory_fraction = memory_fraction
        self._mesh = make_mesh(jax.local_devices(), tensor) if tensor else None
        self._kept_level: int | None = None
        self._kept_prior: tuple[PriorConfig, PriorWeights] | None = None
        self.codec = Codec.load(folder)
        codec_facts = {"hops": list(self.codec.config.hops), "sample_rate": self.codec.sample_rate}
        for name, value in codec_facts.items():
            if description[name] != value:
                raise ValueError(
                    f"{folder}/model.json.{name} is {description[name]}, and {value} in its VQ-VAE"
                )
        if not self.levels:
            raise ValueError(f"{folder} holds no prior, so it cannot be sampled")
        self._descriptions = {
            level: loading.read_description(folder, f"level_{level}") for level in self.levels
        }
        check_priors(
            self.codec.identity,
            {f"{folder}/level_{level}": self._descriptions[level] for level in self.levels},
            f"{folder}/vqvae",
            "export the bundle again with the VQ-VAE that made its codes",
        )

    def top_codes(self, seconds: float, rounding: Callable[[float], int] = math.ceil) -> int:
        """Returns the number of top-level codes in a length in seconds."""
        return rounding(seconds * self.sample_rate / self.hops[-1])

    def seconds(self, top_codes: int) -> float:
        """Returns the length in seconds of a number of top-level codes."""
        return top_codes * self.hops[-1] / self.sample_rate

    def totals(self, top_codes: int) -> dict[int, int]:
        """Returns the codes of every level of the VQ-VAE in a track of `top_codes`."""
        return {level: top_codes * (self.hops[-1] // hop) for level, hop in enumerate(self.hops)}

    def load_prior(self, level: int) -> tuple[PriorConfig, PriorWeights]:
        """Loads the prior of a level, cast and laid out for decoding, onto its device or devices.

        Arrays on the host would be transferred again for every window.
        """
        if level != self._kept_level:
            return self._read_prior(level)
        if self._kept_prior is None:
            self._kept_prior = self._read_prior(level)
        return self._kept_prior

    @contextlib.contextmanager
    def keep_prior(self, level: int) -> Iterator[None]:
        """Keeps the prior of a level in memory, from its first use to the end of the block."""
        self._kept_level = level
        try:
            yield
        finally:
            self._kept_level = self._kept_prior = None

    def _read_prior(self, level: int) -> tuple[PriorConfig, PriorWeights]:
        description, weights = loading.load_model(self.folder, f"level_{level}")
        config = freeze(PriorConfig, description["config"], f"level_{level}")
        settings = self.dtype, self.weights
        mesh = self._mesh or choose_mesh(config, *settings, self._memory_fraction)
        if mesh.shape["tensor"] > 1:
            return config, shard_weights(config, weights["params"], *settings, mesh)
        return config, jax.device_put(prepare_weights(config, weights["params"], *settings))

    def prepare_upper_codes(self, config: PriorConfig, upper_codes: np.ndarray) -> np.ndarray:
        """Joins the codes above a prior with those of its reference, if it has one.

        Args:
          upper_codes: int32 [t // ratio] of a track.

        Returns:
          int32 [t // ratio], or [t // ratio, 1 + ratio] (`data.references`).
        """
        if not config.has_reference:
            return upper_codes
        reference = self.codec.encode_reference(upper_codes, config.level)
        return join_reference(upper_codes, reference)

    def window_hop(self, level: int, hop_fraction: float) -> int:
        """Returns the codes between the starts of windows, a multiple of an upper code."""
        config = self.read_config(level)
        ratio = 1 if config.upper is None else config.upper.ratio
        return max(int(hop_fraction * config.seq_len) // ratio, 1) * ratio

    def read_config(self, level: int) -> PriorConfig:
        """Reads the config of a level's prior, without its weights."""
        return freeze(PriorConfig, self._read_description(level)["config"], f"level_{level}")

    def read_vocabulary(self, level: int) -> Vocabulary | OpenAIVocabulary:
        """Reads the artists and genres of a level's prior."""
        return vocabularies.parse_vocabulary(self._read_description(level)["vocabulary"])

    def read_lyrics_reader(self, level: int) -> LyricsReader:
        """Returns the alphabet and the window of the lyrics of a level's prior, which has some."""
        config, vocabulary = self.read_config(level).lyrics, self.read_vocabulary(level)
        assert config is not None
        characters = vocabulary.characters if isinstance(vocabulary, Vocabulary) else ""
        alphabet = find_alphabet(config.alphabet, config.vocab_size, characters)
        return LyricsReader(alphabet, config.num_tokens)

    def _read_description(self, level: int) -> dict:
        return self._descriptions[level]

    def has_lyrics(self) -> bool:
        """Returns true if the prior of any level has lyrics."""
        return any(self.read_config(level).lyrics is not None for level in self.levels)

    def encode_labels(
        self,
        level: int,
        *,
        artist: str | None,
        genre: str | None,
        total_seconds: float,
        offset_seconds: float = 0.0,
        text: str = "",
    ) -> Labels:
        """Encodes names as ids and lyrics as tokens, in the vocabulary of a level.

        Args:
          artist, genre: None: "unknown".
          total_seconds: length of the piece that contains the track.
          offset_seconds: start of the track in the piece.

        Raises:
          ValueError: a name is not in the vocabulary (the message has the nearest names), there are
            more genres than the prior takes, or the vocabulary is larger than its tables.
        """
        vocabulary, config = self.read_vocabulary(level), self.read_config(level)
        tokens: tuple[int, ...] = ()
        if config.lyrics is not None:
            tokens = tuple(self.read_lyrics_reader(level).encode(text).tolist())
        artist_id = vocabulary.artist_id(artist or "")
        genre_ids = vocabulary.genre_ids(genre or "")
        excess = config.labels and find_excess(artist_id, genre_ids, config.labels)
        if excess:
            raise ValueError(
                f"artist {artist or ''!r}, genre {genre or ''!r}, level {level}: {excess}; "
                "name others, or fewer genres"
            )
        return Labels(
            artist=artist_id,
            genres=genre_ids,
            total_samples=max(int(total_seconds * self.sample_rate), 1),
            offset=int(offset_seconds * self.sample_rate),
            lyrics=tokens,
        )
