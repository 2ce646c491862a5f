"""Tensor-by-tensor conversion: layers, float types, damaged files."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jukejax.weights import stream
from jukejax.weights.mapping import Entry


def entries_and_shapes(layers):
    entries = [Entry(f"layer.{i}.w", ("params", "w"), i, (1, 0)) for i in range(layers)]
    return entries, {"params": {"w": np.empty((layers, 4, 3))}}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_layers_are_stacked_and_keep_their_float_type(tmp_path, dtype):
    entries, shapes = entries_and_shapes(3)
    state = {e.name: np.random.default_rng(e.layer).random((3, 4)).astype(dtype) for e in entries}
    stream.stream_safetensors(tmp_path / "w", stream.plan_leaves(entries, state, shapes), state)
    ((name, value),) = load_file(tmp_path / "w").items()
    assert name == "params/w"
    assert value.dtype == dtype
    np.testing.assert_array_equal(value, np.stack([x.T for x in state.values()]))


def test_tensors_are_cast_to_a_given_float_type(tmp_path):
    entries, shapes = entries_and_shapes(2)
    state = {e.name: np.full((3, 4), 0.1, np.float16) for e in entries}
    leaves = stream.plan_leaves(entries, state, shapes, dtype=np.float32)
    stream.stream_safetensors(tmp_path / "w", leaves, state)
    np.testing.assert_array_equal(
        load_file(tmp_path / "w")["params/w"], np.full((2, 4, 3), np.float16(0.1), np.float32)
    )


def test_additional_tensors_keep_their_shape(tmp_path):
    extra = {"extra/scalar": np.array(True), "extra/w": np.arange(6.0).reshape(2, 3).T}
    stream.stream_safetensors(tmp_path / "w", [], {}, extra)
    stored = load_file(tmp_path / "w")
    for name, value in extra.items():
        assert (stored[name].shape, stored[name].dtype) == (value.shape, value.dtype)
        np.testing.assert_array_equal(stored[name], value)


@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    save_file({"w": np.zeros((8, 8), np.float32)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"hello " * 100)
    with pytest.raises(ValueError, match=rf"{path} is no safetensors file, or a truncated one"):
        stream.map_safetensors(path)
