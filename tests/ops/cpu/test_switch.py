"""The switch of the CPU kernels."""

import jax

from jukejax.ops.cpu.switch import (
    disable_cpu_kernels,
    is_for_cpu,
    is_for_one_cpu,
    set_cpu_kernels,
)
from jukejax.ops.logical_axes import target_device


def test_these_tests_run_with_the_switch_on_and_it_can_be_turned_off():
    here = target_device()[0] == "cpu"
    assert is_for_cpu() == here
    with set_cpu_kernels(False):
        assert not is_for_cpu()
        assert not is_for_one_cpu()


def test_kernels_are_for_one_device_and_forms_for_any_number():
    if target_device()[0] != "cpu":
        return
    assert is_for_one_cpu()
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((2,), ("x",))):
        assert is_for_cpu()
        assert not is_for_one_cpu()
    with disable_cpu_kernels():
        assert not is_for_one_cpu()
