"""Closing of a loop: a last bar that leads to the first, and sound that wraps around.

Dimensions: B items, t codes of a level.
"""

import math

import numpy as np

from jukejax.data.grid import Grid
from jukejax.inference.codec import Codec
from jukejax.inference.loaded_model import Model

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


def decode_loop(codec: Codec, codes: np.ndarray, level: int, samples: int) -> np.ndarray:
    """Decodes int [t] of a level to a loop, float32 [samples, 1].

    The codes at the beginning are decoded after those at the end, and the reverse, in whole frames:
    every code keeps its turn. Where the end of the loop cuts its last frame, the rest of that frame
    is blended into the beginning.
    """
    hop, frame = codec.config.hops[level], codec.config.frame_codes(level)
    codes = complete_frame(codes, frame)
    margin = min(math.ceil((codec.margin(level) + 1) / frame) * frame, len(codes))
    wrapped = np.concatenate([codes[-margin:], codes, codes[:margin]])
    decoded = codec.decode(wrapped, level)[margin * hop :]
    sound = decoded[:samples].copy()
    fade = min(round(FADE_SECONDS * codec.sample_rate), samples, len(decoded) - samples)
    weight = np.linspace(0.0, 1.0, fade, dtype=np.float32)[:, None]
    sound[:fade] = (1 - weight) * decoded[samples : samples + fade] + weight * sound[:fade]
    return sound
