"""Conversion of FFmpeg's frames of sound to arrays."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av


def frame_to_float(frame: "av.AudioFrame") -> np.ndarray:
    """Converts a frame, planar or packed, of any sample type, to float32 [time, channels]."""
    array = frame_to_array(frame)
    samples = np.ascontiguousarray(array, np.float32)
    if array.dtype == np.uint8:
        return (samples - 128) / 128
    if np.issubdtype(array.dtype, np.integer):
        return samples * np.float32(2.0 ** (1 - 8 * array.itemsize))
    return samples


def frame_to_array(frame: "av.AudioFrame") -> np.ndarray:
    array: np.ndarray = frame.to_ndarray()
    if frame.format.is_planar:
        return array.T
    return array.reshape(-1, frame.layout.nb_channels)


def pack_samples(frame: "av.AudioFrame", bits: int) -> bytes:
    """Converts a frame of integers to the bytes of which FLAC computes its MD5."""
    array = frame_to_array(frame)
    shift = 8 * array.itemsize - bits
    if bits == 16:
        return np.ascontiguousarray(array >> shift, "<i2").tobytes()
    values = np.ascontiguousarray(array.astype("<i4") >> shift)
    return values.view(np.uint8).reshape(-1, 4)[:, : -(-bits // 8)].tobytes()
