"""Costs read from a compiled program's text, against programs whose costs are known."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jukejax.benches.aot import hlo, hlo_costs

LOOP = """HloModule jit_f, is_scheduled=true

%product (p0: f32[8,16], p1: f32[16,32]) -> f32[8,32] {
  %p0 = f32[8,16]{1,0:T(8,128)} parameter(0)
  %p1 = f32[16,32]{1,0:T(8,128)} parameter(1)
  ROOT %dot.1 = f32[8,32]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%cond (s: (s32[], f32[8,16], f32[9,16,32])) -> pred[] {
  %s = (s32[]{:T(128)}, f32[8,16]{1,0:T(8,128)}, /*index=2*/f32[9,16,32]{2,1,0}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%s), index=0
  %limit = s32[]{:T(128)} constant(%LIMIT%)
  ROOT %lt = pred[]{:T(512)} compare(%i, %limit), direction=LT
}

%slice_one (q0: f32[9,16,32], q1: s32[]) -> f32[16,32] {
  %q0 = f32[9,16,32]{2,1,0} parameter(0)
  %q1 = s32[] parameter(1)
  %zero.1 = s32[] constant(0)
  %one = f32[1,16,32]{2,1,0} dynamic-slice(%q0, %q1, %zero.1, %zero.1)
  ROOT %flat = f32[16,32]{1,0} bitcast(%one)
}

%body (t: (s32[], f32[8,16], f32[9,16,32])) -> (s32[], f32[8,16], f32[9,16,32]) {
  %t = (s32[]{:T(128)}, f32[8,16]{1,0:T(8,128)}, f32[9,16,32]{2,1,0}) parameter(0)
  %j = s32[]{:T(128)} get-tuple-element(%t), index=0
  %x = f32[8,16]{1,0:T(8,128)} get-tuple-element(%t), index=1
  %all = f32[9,16,32]{2,1,0} get-tuple-element(%t), index=2
  %w = f32[16,32]{1,0:T(8,128)} fusion(%all, %j), kind=kLoop, calls=%slice_one
  %y = f32[8,32]{1,0:T(8,128)S(1)} fusion(%x, %w), kind=kOutput, calls=%product
  %sum = f32[8,32]{1,0} all-reduce(%y), replica_groups=[2,4]<=[8], to_apply=%add
  %step = s32[]{:T(128)} constant(%STEP%)
  %next = s32[]{:T(128)} add(%j, %step)
  ROOT %out = (s32[]{:T(128)}, f32[8,16]{1,0}, f32[9,16,32]{2,1,0}) tuple(%next, %x, %all)
}

ENTRY %main (a: f32[8,16], b: f32[9,16,32]) -> f32[8,16] {
  %a = f32[8,16]{1,0:T(8,128)} parameter(0)
  %b = f32[9,16,32]{2,1,0} parameter(1)
  %start = s32[]{:T(128)} constant(%START%)
  %begin = (s32[]{:T(128)}, f32[8,16]{1,0}, f32[9,16,32]{2,1,0}) tuple(%start, %a, %b)
  %loop = (s32[], f32[8,16], f32[9,16,32]) while(%begin), condition=%cond, body=%body
  ROOT %res = f32[8,16]{1,0:T(8,128)} get-tuple-element(%loop), index=1
}
"""


def loop(start=0, limit=9, step=1) -> hlo.Module:
    text = LOOP.replace("%START%", str(start)).replace("%LIMIT%", str(limit))
    return hlo.parse(text.replace("%STEP%", str(step)))


@pytest.mark.parametrize(
    ("start", "limit", "step", "times"), [(0, 9, 1, 9), (2, 9, 1, 7), (0, 9, 2, 5), (9, 9, 1, 0)]
)
def test_loop_body_counts_as_often_as_it_runs(start, limit, step, times):
    module = loop(start, limit, step)
    assert hlo_costs.flops(module) == times * 2 * 8 * 16 * 32
    assert hlo.unknown_loops(module) == 0


def test_loop_without_a_known_length_counts_once_and_is_told():
    text = LOOP.replace("compare(%i, %limit), direction=LT", "compare(%i, %limit), direction=NE")
    module = hlo.parse(text.replace("%START%", "0").replace("%LIMIT%", "9").replace("%STEP%", "1"))
    assert hlo_costs.flops(module) == 2 * 8 * 16 * 32
    assert hlo.unknown_loops(module) == 1


def test_compilers_note_of_a_loops_length_is_believed():
    text = LOOP.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"4"}}')
    module = hlo.parse(text.replace("%START%", "0").replace("%LIMIT%", "9").replace("%STEP%", "1"))
    assert hlo_costs.flops(module) == 4 * 2 * 8 * 16 * 32


def test_traffic_counts_slices_not_stacks_and_nothing_on_the_chip():
    """Each round reads and writes one slice, reads x and it again for the product, whose result
    lies on the chip (S(1)); the sum reads that for nothing and writes; the counter is added."""
    one, x, y, number = 4 * 16 * 32, 4 * 8 * 16, 4 * 8 * 32, 4
    round_ = (one + number + one) + (x + one) + y + 3 * number
    assert hlo_costs.traffic(loop()) == 9 * round_


def test_messages_are_counted_with_their_loop():
    """A ring all-reduce among 4 sends 2 * 3/4 of its array, 9 times."""
    (message,) = hlo_costs.collectives(loop(), np.zeros(8, int))
    assert (message.kind, message.times, message.group) == ("all-reduce", 9, 4)
    assert message.bytes == 2 * (4 * 8 * 32) * 3 // 4
    assert not message.between


def test_messages_that_leave_a_slice_are_told_apart():
    """Groups [0..3] and [4..7] stay inside slices of four, not inside those of odd and even."""
    assert not hlo_costs.collectives(loop(), np.repeat([0, 1], 4))[0].between
    assert hlo_costs.collectives(loop(), np.tile([0, 1], 4))[0].between


@pytest.mark.parametrize(
    ("written", "groups"),
    [
        ("replica_groups={{0,1},{2,3}}, channel_id=1", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[4]", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0)", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'b'}, dimensions={0}", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a'}, dimensions={0}", [[0, 2], [1, 3]]),
        ("replica_groups={}, dimensions={0}", [[0, 1, 2, 3]]),
        ("source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
    ],
)
def test_groups_are_read_in_every_notation(written, groups):
    instruction = hlo.Instruction("x", (), "all-gather", (), "", ", " + written)
    assert hlo_costs._groups(instruction, 4) == groups


@pytest.mark.parametrize(
    ("sizes", "stride", "pad", "dilate_in", "dilate_taps"),
    [
        ((16, 3), 1, (1, 1), 1, 1),
        ((16, 3), 1, (9, 9), 1, 9),
        ((17, 4), 2, (1, 1), 1, 1),
        ((8, 4), 1, (2, 2), 2, 1),  # a transposed convolution
        ((16, 16), 15, (0, 0), 16, 1),  # how TPUs write a batch of products
    ],
)
def test_convolutions_count_products_without_padding(sizes, stride, pad, dilate_in, dilate_taps):
    length, taps = sizes
    spread = (length - 1) * dilate_in + 1 + sum(pad)
    outputs = (spread - (taps - 1) * dilate_taps - 1) // stride + 1
    met = 0
    for out in range(outputs):
        for tap in range(taps):
            position = out * stride + tap * dilate_taps - pad[0]
            met += 0 <= position <= (length - 1) * dilate_in and position % dilate_in == 0
    window = f"size={taps} stride={stride} pad={pad[0]}_{pad[1]} lhs_dilate={dilate_in}"
    window = f"window={{{window} rhs_dilate={dilate_taps}}}"
    text = f"""ENTRY %main (x: f32[2,{length},5], k: f32[{taps},5,7]) -> f32[2,{outputs},7] {{
  %x = f32[2,{length},5]{{2,1,0}} parameter(0)
  %k = f32[{taps},5,7]{{2,1,0}} parameter(1)
  ROOT %c = f32[2,{outputs},7]{{2,1,0}} convolution(%x, %k), {window}, dim_labels=b0f_0io->b0f
}}"""
    assert hlo_costs.flops(hlo.parse(text)) == 2 * 2 * met * 5 * 7


GEMM = """ENTRY %main (x: f16[16,8,24], y: f16[16,24,32]) -> (f32[16,8,32], s8[4194304]) {
  %x = f16[16,8,24]{2,1,0} parameter(0)
  %y = f16[16,24,32]{2,1,0} parameter(1)
  ROOT %z = (f32[16,8,32]{2,1,0}, s8[4194304]{0}) custom-call(%x, %y), TARGET
}"""


def test_library_products_count_without_their_workspace():
    target = (
        'custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":{'
        '"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"],"lhs_batch_dimensions":["0"]}}}'
    )
    module = hlo.parse(GEMM.replace("TARGET", target))
    assert hlo_costs.flops(module) == 2 * 16 * 8 * 32 * 24
    assert hlo_costs.traffic(module) == 2 * 16 * 24 * (8 + 32) + 4 * 16 * 8 * 32


@pytest.mark.parametrize(
    ("target", "operands", "result"),
    [
        ("Forward", ("f16[2,100,8]", "f16[4,8,16]"), "f16[2,97,16]"),
        ("BackwardInput", ("f16[2,97,16]", "f16[4,8,16]"), "f16[2,100,8]"),
        ("BackwardFilter", ("f16[2,100,8]", "f16[2,97,16]"), "f16[4,8,16]"),
    ],
)
def test_library_convolution_and_its_gradients_cost_the_same(target, operands, result):
    x, y = operands
    text = f"""ENTRY %main (x: {x}, y: {y}) -> {result} {{
  %x = {x}{{2,1,0}} parameter(0)
  %y = {y}{{2,1,0}} parameter(1)
  ROOT %z = ({result}{{2,1,0}}, u8[0]{{0}}) custom-call(%x, %y), window={{size=4}}, KIND
}}"""
    kind = f'dim_labels=b0f_0io->b0f, custom_call_target="__cudnn$conv{target}"'
    module = hlo.parse(text.replace("KIND", kind))
    assert hlo_costs.flops(module) == 2 * 2 * 97 * 4 * 8 * 16


def test_compiled_scan_has_the_products_of_all_its_rounds():
    def f(x, stack):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stack)[0]

    shapes = jax.ShapeDtypeStruct((8, 64), jnp.float32), jax.ShapeDtypeStruct((7, 64, 64), "f4")
    module = hlo.parse(jax.jit(f).lower(*shapes).compile().as_text())
    assert hlo_costs.flops(module) == 7 * 2 * 8 * 64 * 64


def test_sharded_product_sends_what_its_mesh_asks_for():
    """Rows of w are cut: partial sums [32, 48] are added among 4 devices."""
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)

    def place(shape, *axes):
        spec = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=spec)

    product = functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec("data")))
    x, w = place((64, 128), "data", "model"), place((128, 48), "model")
    module = hlo.parse(product(lambda x, w: x @ w).lower(x, w).compile().as_text())
    (message,) = hlo_costs.collectives(module, np.zeros(8, int))
    assert (message.kind, message.group, message.times) == ("all-reduce", 4, 1)
    assert message.bytes == 2 * math.prod((32, 48, 4)) * 3 // 4
    assert hlo_costs.flops(module) == 2 * 32 * 32 * 48  # of one device of eight


def test_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        hlo.parse("HloModule nothing")
