"""Models of strangers: what their files declare is checked before it is believed."""

import json
import struct
import time

import ml_dtypes
import numpy as np
import pytest

from jukejax.common import files
from jukejax.weights import bundle, loading, part_checks, stream
from jukejax.weights.headers import read_header
from tests.support import small_bundle
from tests.support.json_fields import change_field

HUGE = 10**9


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none", levels=(1, 2))


def load_changed(source, folder, part, path, value):
    """Loads a copy of a part without a field of its config.json, or with another value of it."""
    description = change_field(files.read_json(source / part / "config.json"), path, value)
    files.write_json(folder / "config.json", description)
    (folder / "weights.safetensors").symlink_to(source / part / "weights.safetensors")
    return loading.load_model(folder, part)


@pytest.mark.parametrize(
    ("part", "path", "value", "message"),
    [
        ("vqvae", ("kind",), "gan", "config.json.kind is 'gan', not one of vqvae, prior"),
        ("vqvae", ("sample_rate",), None, "config.json lacks sample_rate"),
        ("vqvae", ("sample_rate",), 0, "config.json.sample_rate is 0, must be positive"),
        ("vqvae", ("hops",), [8, 32], "config.json.hops is [8, 32], by its config (8, 32, 128)"),
        ("vqvae", ("config", "width"), HUGE, "config.json.config.width is 1000000000, not 1 to"),
        ("vqvae", ("config", "depth"), 900, "config.json.config has depth 900, width 4, and its"),
        ("vqvae", ("config", "downs"), [HUGE, 2, 2], "config.downs is 1000000000, not 0 to 32"),
        (
            "vqvae",
            ("config", "emb_dim"),
            7,
            "kernel has the shape (3, 8, 8), and by its config.json (3, 7, 8)",
        ),
        ("vqvae", ("config", "emb_dim"), -8, "config.json.config.emb_dim is -8, not 1 to"),
        ("vqvae", ("config", "colour"), 1, "unknown key vqvae.colour"),
        ("vqvae", ("config", "m_conv"), "a", "vqvae.m_conv is 'a', not a number"),
        ("level_2", ("level",), "2", "config.json.level is '2', not an integer"),
        ("level_2", ("vqvae",), "abc", "config.json.vqvae is 'abc', not an object"),
        ("level_2", ("vocabulary",), {}, "config.json.vocabulary lacks artists"),
        ("level_2", ("vocabulary", "genres"), 5, "vocabulary.genres is 5, not a list"),
        ("level_2", ("vocabulary", "artists"), ["anna"], "artists does not begin with 'unknown'"),
        ("level_2", ("vocabulary", "version"), "v9", "vocabulary.version is 'v9', not v2 or v3"),
        (
            "level_2",
            ("vocabulary",),
            {"version": "v2", "artists": {"a": -1}, "genres": {}},
            "vocabulary.artists.a is -1, not 0 to",
        ),
        (
            "level_2",
            ("vocabulary", "artists"),
            ["unknown", *"abc"],
            "config.json.vocabulary has 4 artists, the model 3",
        ),
        ("level_2", ("config", "transformer"), None, "prior lacks transformer"),
        ("level_2", ("config", "transformer", "num_layers"), HUGE, "num_layers is 1000000000, not"),
        ("level_2", ("config", "transformer", "num_layers"), 4, "has the shape"),
        ("level_2", ("config", "transformer", "num_heads"), 0, "num_heads is 0, not 1 to"),
        ("level_2", ("config", "transformer", "seq_len"), 4096, "has seq_len 4096, emb_dim 16"),
        ("level_2", ("config", "merged_decoder"), 1, "prior.merged_decoder is 1, not true or"),
        ("level_1", ("config", "upper"), None, "holds params/"),
        ("level_1", ("config", "upper", "stride"), 0, "config.upper.stride is 0, not 1 to"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(source, tmp_path, part, path, value, message):
    started_at = time.monotonic()
    with pytest.raises(ValueError, match=str(tmp_path)) as error:
        load_changed(source, tmp_path, part, path, value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert time.monotonic() - started_at < 20  # no size is believed: a hang would be hours


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, dtype, value):
    largest = np.asarray(ml_dtypes.finfo(dtype).max, dtype)
    weights = {"a": np.array([0, -1, 1e-7, largest], dtype), "b": np.array(True)}
    part_checks.check_finite({"params": weights}, tmp_path)
    weights["a"] = np.append(weights["a"], np.asarray(value, dtype))
    with pytest.raises(ValueError, match="params/a holds NaN or infinity; export the model from"):
        part_checks.check_finite({"params": weights}, tmp_path)


def test_a_bundle_with_nan_is_not_loaded(source, tmp_path):
    description, weights = bundle.load_part(source / "vqvae")
    weights["params"]["encoders_0"]["block_0"]["out"]["bias"][0] = np.nan
    bundle.save_part(tmp_path / "vqvae", description, weights)
    with pytest.raises(ValueError, match="encoders_0/block_0/out/bias holds NaN or infinity"):
        loading.load_model(tmp_path, "vqvae")


def write_header(path, header, length=None, data=bytes(8)):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "length", "message"),
    [
        ({"a": F32}, 2**50, "its header has 1,125,899,906,842,624 bytes, and the file"),
        ({"a": F32 | {"shape": [2**50]}}, None, r"a is F32 \[1125899906842624\], at bytes"),
        ({"a": F32 | {"shape": [2**50, 0], "data_offsets": [0, 8]}}, None, "a is F32"),
        ({"a": F32 | {"shape": [-1, -2]}}, None, r"a is F32 \[-1, -2\]"),
        ({"a": F32 | {"data_offsets": [8, 16]}}, None, "at bytes"),
        ({"a": F32 | {"data_offsets": [-8, 0]}}, None, "at bytes"),
        ({"a": F32 | {"data_offsets": [0]}}, None, "a.data_offsets has 1 entries, not 2"),
        ({"a": F32 | {"dtype": "F99"}}, None, "a.dtype is F99"),
        ({"a": {"dtype": "F32"}}, None, "a lacks shape, data_offsets"),
        ([1], None, "its header is no object"),
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_its_file_is_refused(tmp_path, header, length, message):
    path = tmp_path / "weights.safetensors"
    write_header(path, header, length)
    for read in (read_header, stream.map_safetensors):
        with pytest.raises(ValueError, match=f"{path} is no safetensors file, or .*{message}"):
            read(path)


def test_headers_are_read_as_they_were_written(source):
    path = source / "vqvae" / "weights.safetensors"
    mapped = stream.map_safetensors(path)
    expected = bundle.flatten_weights(bundle.load_part(source / "vqvae")[1])
    assert read_header(path).keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(mapped[name], value)
