"""The rest of the suite runs with the CPU kernels off; the tests here run with them on."""

import pytest

from jukejax.ops.cpu.switch import set_cpu_kernels


@pytest.fixture(autouse=True)
def _cpu_kernels():
    with set_cpu_kernels(True):
        yield


@pytest.fixture
def needs_compiled(request):
    """Skips where the custom calls of a test file's `COMPILED` cannot be used."""
    if not request.module.COMPILED.LIBRARY.is_usable():
        pytest.skip("no compiler when jukejax was installed, or a processor without AVX2")
