"""`bench decode` on a small prior: the figures of its rows, and the flags that it refuses."""

import functools
import json
from types import SimpleNamespace

import pytest

from jukejax.benches import common, decode, decode_program

PRIOR = "configs/tiny.py:prior"


def make_values(**changed):
    defaults = dict(config=PRIOR, batch=2, tokens=16, dtype="float32", weights="float")
    return SimpleNamespace(**defaults | dict(reference="", aot="", model="", codes="") | changed)


@pytest.fixture(autouse=True)
def measure_bandwidth_quickly(monkeypatch):
    """Reads 4 MB instead of 268."""
    quickly = functools.partial(common.measure_read_bandwidth, 1 << 22)
    monkeypatch.setattr(common, "measure_read_bandwidth", quickly)


@pytest.mark.parametrize("weights", ["float", pytest.param("int8", marks=pytest.mark.slow)])
def test_row_has_rates_bytes_and_the_ratio_to_the_reference(tmp_path, weights):
    lines = [
        {"bench": "train", "config": PRIOR, "tokens_per_s": 1.0},
        {"bench": "sample", "config": PRIOR, "batch": 2, "tokens_per_s": 50.0},
    ]
    file = tmp_path / "port.json"
    file.write_text("\n".join(map(json.dumps, lines)))
    (row,) = decode.measure_rows(make_values(reference=str(file), weights=weights))
    assert row["tokens"] == 16
    assert len(row["positions_per_s_by_eighth"]) == 8
    assert row["tokens_per_s"] == pytest.approx(2 * 16 / row["seconds"], rel=0.01)
    assert row["times_reference"] == pytest.approx(row["tokens_per_s"] / 50, rel=0.01)
    moved = row["bytes_per_step"] * 16 / row["seconds"]
    assert row["bandwidth_share"] == pytest.approx(moved / row["read_bandwidth"], rel=0.01)
    assert row["cache_bytes_per_sequence"] < 0.5 * row["dense_cache_bytes_per_sequence"]


def test_weights_in_eight_bits_take_fewer_bytes_a_step():
    float_loop, int8_loop = (
        decode_program.make_loop(PRIOR, batch=1, dtype="float32", weights=weights)
        for weights in ("float", "int8")
    )
    assert int8_loop.bytes_per_step() < 0.5 * float_loop.bytes_per_step()


def test_a_config_is_decoded_with_its_own_codebook():
    loop = decode_program.make_loop(
        "configs/openai_small.py:small_upsampler", batch=1, dtype="float32", weights="float"
    )
    assert loop.config.vocab_size == 1024


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": "configs/tiny.py:vqvae"}, "trains no prior"),
        ({"config": "configs/openai_released.py:5b_lyrics"}, "an encoder of its own"),
        ({"tokens": 4}, "--tokens=4 must be 8 or more"),
        ({"tokens": 4096}, "--tokens=4096 exceeds the window of 128"),
        ({"codes": "x"}, "--codes=x needs --model"),
        ({"reference": "x", "config": "released"}, "--reference is compared with one shape"),
        ({"reference": "/nowhere"}, "--reference=/nowhere: "),
    ],
)
def test_unusable_flags_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        list(decode.measure_rows(make_values(**changed)))
