"""Closing of a loop: a last bar that leads to the first, and sound that wraps around.

Dimensions: B items, t codes of a level.
"""

import math
from collections.abc import Mapping

import numpy as np

from jukejax.data.grid import Grid
from jukejax.inference.codec import Codec
from jukejax.inference.loaded_model import Model
from jukejax.inference.matched_decoding import decode_level, has_match
from jukejax.inference.spans import find_matching_context, find_matching_unit

FADE_SECONDS = 0.006  # the end of a loop lies within its last frame: the rest is blended


def find_last_bar(grid: Grid, model: Model, level: int, total: int) -> int:
    """Returns the code of a level at which the last bar begins, a multiple of a top-level code.

    Args:
      total: codes of the level in a track of two whole bars or more.
    """
    bar_codes = math.ceil(grid.bar_samples(model.sample_rate) / model.hops[-1])
    width = model.hops[-1] // model.hops[level]
    return total - bar_codes * width


def complete_frame(codes: np.ndarray, frame: int) -> np.ndarray:
    """Returns codes [..., t] up to the end of their last frame, a multiple of `frame` codes.

    The codes that it lacks are those of the same turns (`ops.turns`) in the first frame, which must
    be whole.
    """
    missing = -codes.shape[-1] % frame
    return np.concatenate([codes, codes[..., frame - missing : frame]], axis=-1)


def append_beginning(codes: np.ndarray, total: int, length: int, frame: int) -> np.ndarray:
    """Returns tracks int [B, t], of which `total` codes are used, followed by their beginning.

    Args:
      length: codes of the beginning, which follow whole frames.
      frame: codes of the level after which the turns of all levels are as at the start.
    """
    codes = codes[:, :total]
    return np.concatenate([complete_frame(codes, frame), codes[:, :length]], axis=1)


def wrap_codes(codes: np.ndarray, frame: int, margin: int) -> np.ndarray:
    """Returns codes [t] in whole frames, between `margin` of the end and of the beginning."""
    codes = complete_frame(codes, frame)
    return np.concatenate([codes[-margin:], codes, codes[:margin]])


def decode_loop(
    codec: Codec, codes: Mapping[int, np.ndarray], level: int, samples: int
) -> np.ndarray:
    """Decodes a level to a loop, float32 [samples, 1].

    The codes at the beginning are decoded after those at the end, and the reverse, in whole frames:
    every code keeps its turn. Where the end of the loop cuts its last frame, the rest of that frame
    is blended into the beginning.

    Args:
      codes: int [t] by level (`decode_level`).
    """
    config, hops = codec.config, codec.config.hops
    used, frame = [level], config.frame_codes(level) * hops[level]
    margin = (codec.margin(level) + 1) * hops[level]
    if has_match(codec, codes, level):
        used, frame = [level, config.levels - 1], find_matching_unit(config)
        margin += find_matching_context(config)
    length = math.ceil(len(codes[level]) * hops[level] / frame) * frame
    margin = min(math.ceil(margin / frame) * frame, length)
    wrapped = {k: wrap_codes(codes[k], frame // hops[k], margin // hops[k]) for k in used}
    decoded = decode_level(codec, wrapped, level)[margin:]
    sound = decoded[:samples].copy()
    fade = min(round(FADE_SECONDS * codec.sample_rate), samples, len(decoded) - samples)
    weight = np.linspace(0.0, 1.0, fade, dtype=np.float32)[:, None]
    sound[:fade] = (1 - weight) * decoded[samples : samples + fade] + weight * sound[:fade]
    return sound
