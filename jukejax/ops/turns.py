"""Codes of a level that take turns: each describes one band of the audio, an extension.

A level with `turns` of G entries has frames of G codes, hence of G * hop samples. Turns with equal
entries form a stream: they divide the frame's time among themselves, and share one encoder and one
part of the codebook. So each code tells a single thing, such as a chord or a drum stroke, whatever
sounds beside it.

Letters: B batch, N codes, M frames, G turns of a frame, E features of a code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# What a code describes, and the band: kind, lower and upper edge in Hz.
Turn = tuple[str, float, float]


class Stream(NamedTuple):
    """The turns of a frame that describe the same band.

    Attributes:
      turn: what they describe.
      positions: their places among the codes of a frame.
    """

    turn: Turn
    positions: tuple[int, ...]


def find_streams(turns: tuple[Turn, ...]) -> tuple[Stream, ...]:
    """Returns the streams of a level, in the order of their first turns."""
    return tuple(
        Stream(turn, tuple(i for i, other in enumerate(turns) if other == turn))
        for turn in dict.fromkeys(turns)
    )


def count_turns(streams: tuple[Stream, ...]) -> int:
    """Counts the codes of a frame."""
    return sum(len(stream.positions) for stream in streams)


def find_ranges(streams: tuple[Stream, ...], num_codes: int) -> tuple[tuple[int, int], ...]:
    """Returns the range of codes of each stream; every turn has an equal share of the codebook."""
    ends = np.cumsum([len(stream.positions) for stream in streams])
    ends = ends * num_codes // count_turns(streams)
    starts = [0, *(int(end) for end in ends[:-1])]
    return tuple(zip(starts, (int(end) for end in ends), strict=True))


def split_streams(x: jax.Array, streams: tuple[Stream, ...]) -> list[jax.Array]:
    """Selects the codes of each stream, of whole frames. [B, M * G, ...] -> [B, M * turns, ...]."""
    frames = x.reshape(x.shape[0], -1, count_turns(streams), *x.shape[2:])
    return [
        frames[:, :, np.asarray(stream.positions)].reshape(x.shape[0], -1, *x.shape[2:])
        for stream in streams
    ]


def join_streams(parts: list[jax.Array], streams: tuple[Stream, ...]) -> jax.Array:
    """Puts the codes of all streams in their places, the inverse of `split_streams`."""
    columns: dict[int, jax.Array] = {}
    for part, stream in zip(parts, streams, strict=True):
        count = len(stream.positions)
        frames = part.reshape(part.shape[0], -1, count, *part.shape[2:])
        columns |= {place: frames[:, :, i] for i, place in enumerate(stream.positions)}
    frames = jnp.stack([columns[place] for place in range(len(columns))], axis=2)
    return frames.reshape(frames.shape[0], -1, *frames.shape[3:])


def pad_frames(x: jax.Array, length: int) -> jax.Array:
    """Appends zeros along axis 1 up to a multiple of `length`."""
    missing = -x.shape[1] % length
    return jnp.pad(x, ((0, 0), (0, missing), *((0, 0) for _ in x.shape[2:])))


def repeat_last_frame(codes: np.ndarray, length: int, frame: int) -> np.ndarray:
    """Appends to codes [t] those of the same turns in the last `frame` codes, up to `length`.

    Args:
      frame: codes of one or several whole frames.
    """
    return np.concatenate([codes, np.resize(codes[-frame:], max(length - len(codes), 0))])
