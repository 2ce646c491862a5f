"""Compiled programs' text: loops, kernels, messages, against programs whose figures are known."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jukejax.benches.aot import hlo
from jukejax.benches.aot.collectives import find_collectives, read_groups

LOOP = """HloModule jit_f, is_scheduled=true

%product (p0: f32[8,16], p1: f32[16,32]) -> f32[8,32] {
  %p0 = f32[8,16]{1,0:T(8,128)} parameter(0)
  %p1 = f32[16,32]{1,0:T(8,128)} parameter(1)
  ROOT %dot.1 = f32[8,32]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%cond (s: (s32[], f32[8,16], f32[9,16,32])) -> pred[] {
  %s = (s32[]{:T(128)}, f32[8,16]{1,0:T(8,128)}, /*index=2*/f32[9,16,32]{2,1,0}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%s), index=0
  %limit = s32[]{:T(128)} constant(9)
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
  %step = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)} add(%j, %step)
  ROOT %out = (s32[]{:T(128)}, f32[8,16]{1,0}, f32[9,16,32]{2,1,0}) tuple(%next, %x, %all)
}

ENTRY %main (a: f32[8,16], b: f32[9,16,32]) -> f32[8,16] {
  %a = f32[8,16]{1,0:T(8,128)} parameter(0)
  %b = f32[9,16,32]{2,1,0} parameter(1)
  %start = s32[]{:T(128)} constant(0)
  %begin = (s32[]{:T(128)}, f32[8,16]{1,0}, f32[9,16,32]{2,1,0}) tuple(%start, %a, %b)
  %loop = (s32[], f32[8,16], f32[9,16,32]) while(%begin), condition=%cond, body=%body
  ROOT %res = f32[8,16]{1,0:T(8,128)} get-tuple-element(%loop), index=1
}
"""


def count_products(text: str) -> int:
    """Returns how often the product of LOOP runs."""
    walked = hlo.walk_executions(hlo.parse_module(text), into_fusions=True)
    return sum(times for _, instruction, times in walked if instruction.opcode == "dot")


def count_unknown_loops(text: str) -> int:
    module = hlo.parse_module(text)
    return sum(hlo.find_trip_count(module, loop) is None for loop in hlo.find_loops(module))


def test_loop_body_counts_as_often_as_it_runs():
    assert count_products(LOOP) == 9
    assert count_unknown_loops(LOOP) == 0


def test_loop_without_a_fixed_length_counts_once_and_is_reported():
    text = LOOP.replace("compare(%i, %limit), direction=LT", "compare(%i, %limit), direction=NE")
    assert count_products(text) == 1
    assert count_unknown_loops(text) == 1


def test_compilers_note_of_a_loops_length_takes_precedence():
    text = LOOP.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"4"}}')
    assert count_products(text) == 4


def test_kernels_of_a_loop_body_are_its_fusions_messages_and_counter():
    """A slice, a product, a sum over devices, and the addition to the counter."""
    module = hlo.parse_module(LOOP)
    assert hlo.count_kernels(module) == 9 * 4
    assert hlo.count_kernels(hlo.extract_loop_body(module)) == 4


def test_result_of_a_loop_has_the_bytes_of_all_its_arrays():
    (loop,) = hlo.find_loops(hlo.parse_module(LOOP))
    assert loop.bytes == 4 + 4 * 8 * 16 + 4 * 9 * 16 * 32


def test_program_without_a_loop_has_no_body_to_extract():
    module = hlo.parse_module("ENTRY %main (x: f32[]) -> f32[] {\n  %x = f32[] parameter(0)\n}")
    with pytest.raises(ValueError, match="has no loop"):
        hlo.extract_loop_body(module)


def test_messages_are_counted_with_their_loop():
    """A ring all-reduce among 4 sends 2 * 3/4 of its array, 9 times."""
    (message,) = find_collectives(hlo.parse_module(LOOP), np.zeros(8, int))
    assert (message.kind, message.count, message.group) == ("all-reduce", 9, 4)
    assert message.bytes == 9 * (2 * (4 * 8 * 32) * 3 // 4)
    assert not message.between


def test_messages_that_leave_a_slice_are_distinguished():
    """Groups [0..3] and [4..7] stay inside slices of four, not inside those of odd and even."""
    module = hlo.parse_module(LOOP)
    assert not find_collectives(module, np.repeat([0, 1], 4))[0].between
    assert find_collectives(module, np.tile([0, 1], 4))[0].between


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
    assert read_groups(f", {written}", 4) == groups


def test_compiled_scan_runs_its_products_every_round():
    def f(x, stack):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stack)[0]

    shapes = jax.ShapeDtypeStruct((8, 64), jnp.float32), jax.ShapeDtypeStruct((7, 64, 64), "f4")
    text = jax.jit(f).lower(*shapes).compile().as_text()
    (loop,) = hlo.find_loops(module := hlo.parse_module(text))
    assert hlo.find_trip_count(module, loop) == 7


def test_sharded_product_sends_partial_sums():
    """Rows of w are cut: partial sums [64, 48] are added among 2 devices."""
    mesh = jax.make_mesh((2,), ("model",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])

    def place(shape, *axes):
        spec = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=spec)

    product = functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec()))
    x, w = place((64, 128), None, "model"), place((128, 48), "model")
    module = hlo.parse_module(product(lambda x, w: x @ w).lower(x, w).compile().as_text())
    (message,) = find_collectives(module, np.zeros(2, int))
    assert (message.kind, message.group, message.count) == ("all-reduce", 2, 1)
    assert message.bytes == 2 * math.prod((64, 48, 4)) // 2


def test_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        hlo.parse_module("HloModule nothing")
