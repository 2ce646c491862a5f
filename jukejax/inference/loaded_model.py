"""A whole model bundle, opened for sampling: codec, priors, vocabulary, rates."""

import math
from collections.abc import Callable
from pathlib import Path

import jax

from jukejax.common import files
from jukejax.common.config import freeze
from jukejax.data import lyrics, vocabularies
from jukejax.data.openai_labels import OpenAIVocabulary
from jukejax.data.vocabularies import Vocabulary
from jukejax.inference import generate
from jukejax.inference.codec import Codec
from jukejax.models.prior import PriorConfig
from jukejax.runtime import precision
from jukejax.weights import bundle, loading


def default_dtype() -> str:
    """bfloat16 where the device has it, float16 on older GPUs, float32 on CPUs."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return "float32"
    capability = float(getattr(device, "compute_capability", 8.0))
    return "bfloat16" if capability >= 8.0 else "float16"


class Model:
    """A bundle. Priors are loaded one at a time, when their level is sampled.

    Args:
      dtype: what is computed in; None: `default_dtype`.
      weights: "int8" keeps the priors' matrices in eight bits.

    Attributes:
      levels: levels that have a prior, ascending.
      hops: samples a code stands for, by level.
      sample_rate: of the audio, in Hz.
      hash: of all weights.
      codec: the VQ-VAE.
    """

    def __init__(self, folder: str | Path, dtype: str | None = None, weights: str = "float"):
        self.folder = Path(folder)
        description = bundle.open_bundle(folder)
        self.hops = description["hops"]
        self.levels = sorted(description["levels"])
        self.sample_rate = description["sample_rate"]
        self.hash = bundle.weights_hash(folder)
        self._dtype = precision.compute_dtype(dtype or default_dtype())
        self._weights = weights
        self.codec = Codec.load(folder)
        if not self.levels:
            raise ValueError(f"{folder} holds no prior, so there is nothing to sample from")

    def top_codes(self, seconds: float, rounding: Callable[[float], int] = math.ceil) -> int:
        """Codes of the top level in so many seconds."""
        return rounding(seconds * self.sample_rate / self.hops[-1])

    def seconds(self, top_codes: int) -> float:
        """How long so many codes of the top level sound."""
        return top_codes * self.hops[-1] / self.sample_rate

    def totals(self, top_codes: int) -> dict[int, int]:
        """Codes of every level of the VQ-VAE in a track of so many codes of the top level."""
        return {level: top_codes * (self.hops[-1] // hop) for level, hop in enumerate(self.hops)}

    def prior(self, level: int) -> tuple[PriorConfig, generate.PriorWeights]:
        """One level's prior, cast and laid out for decoding, on the device.

        Arrays that stayed on the host would be sent there again for every window.
        """
        description, weights = loading.load_part(self.folder, f"level_{level}")
        config = freeze(PriorConfig, description["config"], f"level_{level}")
        decode = generate.prior_weights(config, weights["params"], self._dtype, self._weights)
        return config, jax.device_put(decode)

    def window_hop(self, level: int, hop_fraction: float) -> int:
        """Codes between windows: a share of the window, on the grid of the level above."""
        config = self.config(level)
        ratio = 1 if config.upper is None else config.upper.ratio
        return max(int(hop_fraction * config.seq_len) // ratio, 1) * ratio

    def _description(self, level: int) -> dict:
        return files.read_json(self.folder / f"level_{level}" / "config.json")

    def config(self, level: int) -> PriorConfig:
        """What one level's prior looks like; its weights stay on disk."""
        return freeze(PriorConfig, self._description(level)["config"], f"level_{level}")

    def vocabulary(self, level: int) -> Vocabulary | OpenAIVocabulary:
        """The names that one level's prior knows."""
        return vocabularies.parse_vocabulary(self._description(level)["vocabulary"])

    def sings(self) -> bool:
        """Whether any level reads lyrics."""
        return any(self.config(level).lyrics is not None for level in self.levels)

    def labels(
        self,
        level: int,
        *,
        artist: str | None,
        genre: str | None,
        total_seconds: float,
        offset_seconds: float = 0.0,
        text: str = "",
    ) -> generate.Labels:
        """Names to ids and lyrics to tokens, by the vocabulary of one level; no name is "unknown".

        Args:
          total_seconds: length of the piece that the track is a part of.
          offset_seconds: where in it the track begins.

        Raises:
          ValueError: a name that the vocabulary does not have; the nearest are named.
        """
        vocabulary, config = self.vocabulary(level), self.config(level)
        tokens = ()
        if config.lyrics is not None:
            version = lyrics.version_of(config.lyrics.vocab_size)
            tokens = tuple(lyrics.encode(lyrics.clean(text, version), version))
        return generate.Labels(
            artist=vocabulary.artist_id(artist or ""),
            genres=vocabulary.genre_ids(genre or ""),
            total_samples=max(int(total_seconds * self.sample_rate), 1),
            offset=int(offset_seconds * self.sample_rate),
            lyrics=tokens,
        )
