"""Decoding of one level of a track whose other levels may be known too."""

from collections.abc import Mapping

import numpy as np

from jukejax.inference.codec import Codec


def decode_level(codec: Codec, codes: Mapping[int, np.ndarray], level: int) -> np.ndarray:
    """Decodes one level of a track, and filters it to match the top level where that is known.

    Args:
      codes: int [t] by level, of the same time; only those of `level` and of the top level are
        used, the latter for a VQ-VAE with `matching_rounds` (`VQVAE.match_sound`).

    Returns:
      float32 [time, 1].
    """
    sound = codec.decode(codes[level], level)
    if has_match(codec, codes, level):
        return codec.match_sound(sound, codes[codec.config.levels - 1])
    return sound


def has_match(codec: Codec, codes: Mapping[int, np.ndarray], level: int) -> bool:
    """Returns true if `decode_level` filters the sound of a level."""
    return codec.config.is_matched(level) and codec.config.levels - 1 in codes
