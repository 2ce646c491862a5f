"""`bench attention`: its counts of work, its rows and the conclusions from them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from jukejax.benches import attention, attention_layers, attention_report, common
from jukejax.benches.attention_layers import AttentionCase
from jukejax.ops.attention.kinds import AttentionKind, Grid, prime_length, visible_positions
from jukejax.runtime import memory
from tests.support.command import run_in_process

SHAPE = dict(width=32, num_heads=2, lyric_len=5, batch=1, dtype="float32", backend="xla")


@pytest.mark.parametrize("kind", ["1", "2", "3", "dense", "prime"])
def test_useful_pairs_are_those_of_the_mask(kind):
    case = AttentionCase(kind=kind, seq_len=24, num_blocks=4, **SHAPE)
    mask = visible_positions(
        AttentionKind(attention_layers.KINDS[kind][0]),
        24,
        Grid(4, 6, prime_len=prime_length(5, 4)),
    )
    assert case.count_pairs(useful=True) == np.asarray(mask).sum()
    assert case.count_pairs(useful=False) >= case.count_pairs(useful=True)


def test_work_of_three_layers_is_that_of_each():
    cases = {
        k: AttentionCase(kind=k, seq_len=24, num_blocks=4, **SHAPE) for k in attention_layers.KINDS
    }
    total = sum(cases[kind].count_flops("forward") for kind in "123")
    assert cases["pattern"].count_flops("forward") == total
    assert cases["dense3"].count_flops("forward+backward") == 9 * cases["dense"].count_flops(
        "forward"
    )


def make_row(kind, seq_len, seconds, peak):
    case = AttentionCase(kind=kind, seq_len=seq_len, num_blocks=8, **SHAPE)
    return attention.make_case_row(
        case,
        "forward+backward",
        "attention",
        device="none",
        seconds=seconds,
        peak_memory_bytes=peak,
    )


def test_exponents_ratios_and_the_crossover_follow_from_the_rows():
    lengths = [512, 1024, 2048, 4096]
    rows = [make_row("pattern", n, 32.0 * n**1.5, 5.0 * n**1.5) for n in lengths]
    rows += [make_row("dense3", n, 1.0 * n**2, 2.0 * n**2) for n in lengths]
    conclusions = list(attention_report.compare_rows(rows))
    fits = {row["kind"]: row for row in conclusions if "time_exponent" in row}
    assert fits["pattern"]["time_exponent"] == pytest.approx(1.5)
    assert fits["pattern"]["memory_exponent"] == pytest.approx(1.5)
    assert fits["dense3"]["time_exponent"] == pytest.approx(2.0)
    assert fits["dense3"]["theory"] == 2.0
    (ratio,) = [row for row in conclusions if row.get("seq_len") == 4096]
    assert ratio["times_faster"] == pytest.approx(2.0)
    assert ratio["times_less_memory"] == pytest.approx(0.4 * 64, rel=1e-3)
    (cross,) = [row for row in conclusions if "crossover" in row]
    assert cross["crossover"] == 2048  # 32 n^1.5 < n^2 from n = 1024 on, where they are equal


@pytest.mark.parametrize(
    "seq_lens", [(128,), pytest.param((64, 128), marks=pytest.mark.slow)], ids=str
)
def test_a_run_has_every_field_of_the_contract(tmp_path, seq_lens):
    flags = "--json --kinds=pattern,dense3 --width=16 --num_heads=2 --repeat=2"
    lengths, plot = ",".join(map(str, seq_lens)), tmp_path / "plot.png"
    flags = (*flags.split(), f"--seq_lens={lengths}", f"--plot={plot}")
    out = run_in_process("bench", "attention", *flags).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    measured = [row for row in rows if row["what"] == "attention"]
    assert len(measured) == len(seq_lens) * 2 * 2
    for row in measured:
        for name in (
            "config", "batch", "device", "dtype", "seconds", "compile_seconds",
            "peak_memory_bytes", "kind", "seq_len", "width", "num_heads", "num_blocks", "backend",
            "direction", "tflops",
        ):  # fmt: skip
            assert row[name] is not None, name
    assert {row["num_blocks"] for row in measured} == {8}  # 2^3 <= sqrt(64), sqrt(128) < 2^4
    assert any(row["what"] == "three dense layers / the pattern" for row in rows)
    assert plot.stat().st_size > 1000


def test_layers_that_do_not_fit_the_memory_are_left_out(monkeypatch):
    flags = SimpleNamespace(longest=20.0, repeat=1)

    def measure(kind, room):
        monkeypatch.setattr(memory, "usable_bytes", lambda _: room)
        case = AttentionCase(kind=kind, seq_len=256, num_blocks=16, **SHAPE)
        return attention.measure_case(flags, case, "forward", [])["what"]

    pattern = AttentionCase(kind="pattern", seq_len=256, num_blocks=16, **SHAPE)
    compiled = attention_layers.compile_case(pattern, "forward").compiled
    need = common.count_program_bytes(compiled)
    assert measure("pattern", need / 0.4).startswith("left out: needs")
    assert measure("pattern", need / 0.3) == "attention"
    scores = 4 * 2 * 256**2  # of two heads, which the compiler may not count
    assert measure("dense", 2 * scores / 0.4).startswith("left out: needs")


def test_kinds_1_2_and_3_in_turn_reach_every_earlier_position():
    masks = attention_report.compute_masks()
    np.testing.assert_array_equal(masks["1, 2 and 3 one after the other"], masks["0 dense"])


def test_an_unknown_kind_is_refused():
    error = run_in_process("bench", "attention", "--kinds=flash", code=2).stderr
    assert error.startswith("error: --kinds has 'flash'; known: 1, 2, 3, pattern, dense")
    assert tuple(attention_layers.KINDS) == attention.KINDS
