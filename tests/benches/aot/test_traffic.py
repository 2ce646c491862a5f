"""Bytes read and written by kernels, against programs whose figures are known."""

from jukejax.benches.aot import hlo, traffic
from tests.benches.aot.test_hlo import LOOP

UPDATE = """HloModule jit_f, is_scheduled=true

%write_row (p0: f32[64,256], p1: f32[256], p2: s32[]) -> f32[64,256] {
  %p0 = f32[64,256]{1,0} parameter(0)
  %p1 = f32[256]{0} parameter(1)
  %p2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  %row = f32[1,256]{1,0} bitcast(%p1)
  ROOT %new = f32[64,256]{1,0} dynamic-update-slice(%p0, %row, %p2, %zero)
}

ENTRY %main (a: f32[64,256], b: f32[256], c: s32[]) -> f32[64,256] {
  %a = f32[64,256]{1,0} parameter(0)
  %b = f32[256]{0} parameter(1)
  %c = s32[] parameter(2)
  ROOT %out = f32[64,256]{1,0} fusion(%a, %b, %c), kind=kLoop, calls=%write_row
}
"""

PRODUCT = """HloModule jit_f, is_scheduled=true

ENTRY %main (a: f32[8,16], b: f32[16,32]) -> f32[8,32] {
  %a = f32[8,16]{1,0} parameter(0)
  %b = f32[16,32]{1,0} parameter(1)
  %call = (f32[8,32]{1,0}, s8[4194304]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm"
  ROOT %out = f32[8,32]{1,0} get-tuple-element(%call), index=0
}
"""


def count(text: str) -> int:
    return traffic.count_kernel_bytes(hlo.parse_module(text))


def test_loop_reads_one_slice_of_the_stacked_array_in_every_round():
    weights, inputs, outputs, number = 16 * 32 * 4, 8 * 16 * 4, 8 * 32 * 4, 4
    sliced = weights + number + weights
    product = inputs + weights + outputs
    message = 2 * outputs
    counter = 3 * number
    assert count(LOOP) == 9 * (sliced + product + message + counter)


def test_array_updated_in_place_counts_its_update_alone():
    row, number = 256 * 4, 4
    assert count(UPDATE) == row + number + row


def test_workspace_of_a_library_call_is_not_counted():
    assert count(PRODUCT) == (8 * 16 + 16 * 32 + 8 * 32) * 4
