"""TensorFlow's checkpoints: exact values, and errors for damaged files."""

import numpy as np
import pytest

from jukejax.weights import tf_bundle
from tests.support.tf_bundle_writer import write_bundle


def make_tensors():
    random = np.random.default_rng(0)
    return {
        "conv2d/kernel": random.standard_normal((5, 5, 2, 3)).astype(np.float32),
        "conv2d/bias": np.arange(3, dtype=np.float32),
        "conv2d_1/bias": np.arange(200, dtype=np.float64),
        "conv2d_transpose/bias": np.arange(6, dtype=np.int32).reshape(1, 6),
        "global_step": np.array(1_400_000, np.int64),
    }


def test_a_checkpoint_is_read_as_it_was_written():
    tensors = make_tensors()
    read = tf_bundle.read_tensors(*write_bundle(tensors))
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype
        assert read[name].shape == value.shape
        np.testing.assert_array_equal(read[name], value)


def test_a_flipped_bit_in_a_tensor_is_caught_and_named():
    index, data = write_bundle(make_tensors())
    data = bytearray(data)
    data[4] ^= 1  # conv2d/bias comes first
    with pytest.raises(ValueError, match="tensor conv2d/bias is damaged: wrong checksum"):
        tf_bundle.read_tensors(index, bytes(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: b"hello" * 20, "no index of a TensorFlow checkpoint"),
        (lambda index: index[:-1], "no index of a TensorFlow checkpoint"),
        (lambda index: b"\x7f" + index[1:], "a block has the wrong checksum"),
        (lambda index: index[:20] + index[60:], "the index is damaged"),
    ],
    ids=["text", "truncated", "flipped", "cut inside"],
)
def test_a_damaged_index_is_refused(change, message):
    index, data = write_bundle(make_tensors())
    with pytest.raises(ValueError, match=message):
        tf_bundle.read_tensors(change(index), data)


def test_data_that_is_too_short_is_refused():
    index, data = write_bundle(make_tensors())
    with pytest.raises(ValueError, match="too short for tensor global_step"):
        tf_bundle.read_tensors(index, data[:-1])
