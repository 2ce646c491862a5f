"""What setup.py compiles: its forms for other processors, and what happens without it."""

import contextlib
import importlib.machinery
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jukejax.benches import machine
from jukejax.ops.cpu import library as compiled
from jukejax.ops.cpu import norm, products
from jukejax.ops.cpu.switch import disable_cpu_kernels
from jukejax.ops.norm import layer_norm
from jukejax.weights.openai import released

USERS = machine.CPU_KERNELS


@pytest.mark.slow
@pytest.mark.skipif(not products.LIBRARY.is_usable(), reason="nothing was compiled")
@pytest.mark.parametrize(
    ("without", "users"), [("JUKEJAX_NO_AVX512", USERS), ("JUKEJAX_NO_TILES", (products,))]
)
def test_the_forms_for_other_processors_are_right(without, users):
    root = Path(__file__).parents[3]
    names = [user.__name__.split(".")[-1] for user in users]
    tests = [path for name in names for path in (root / "tests/ops").rglob(f"test_{name}.py")]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "not slow",
        "--basetemp=.cache/pytest-other",
        *tests,
    ]
    told = {**os.environ, without: "1"}
    done = subprocess.run(command, env=told, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.__name__.split(".")[-1])
def test_without_a_library_or_with_a_broken_one_xla_does_the_work(monkeypatch, tmp_path, user):
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    with fresh_libraries():
        for spec in (None, importlib.machinery.ModuleSpec("x", None, origin=str(broken))):
            monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name, spec=spec: spec)
            assert not user.LIBRARY.is_usable()
            compiled._register.cache_clear()
        monkeypatch.undo()


@contextlib.contextmanager
def fresh_libraries():
    """Forgets before and after what was found out about libraries."""
    compiled._register.cache_clear()
    try:
        yield
    finally:
        compiled._register.cache_clear()


@pytest.mark.skipif(not products.LIBRARY.is_usable(), reason="nothing was compiled")
def test_a_library_for_another_jaxlib_is_refused_and_doctor_says_so(monkeypatch):
    before = compiled.jaxlib.__version__
    with fresh_libraries(), monkeypatch.context() as patch:
        patch.setattr(released, "MODELS", {})  # counting their parameters takes long
        patch.setattr(compiled.jaxlib, "__version__", "9.9.9")
        assert not norm.LIBRARY.is_usable()
        report = machine.describe_machine()
        assert not any(report["compiled"].values())
        (line,) = (line for line in machine.format_machine(report) if line.startswith("compiled"))
    names = ", ".join(user.LIBRARY.name for user in USERS)
    assert f"{names}: built for jaxlib {before}, not 9.9.9: pip install" in line


def test_programs_for_other_machines_have_no_custom_calls():
    """Also those that were traced for this one before, and the other way."""
    x, vector = jnp.ones((128, 64)), jnp.ones(64)
    work = jax.jit(lambda x: layer_norm(x, vector, vector))
    here = work.lower(x).as_text()
    with disable_cpu_kernels():
        assert norm.LIBRARY.target("Forward") not in work.lower(x).as_text()
    assert work.lower(x).as_text() == here
    assert (norm.LIBRARY.target("Forward") in here) == norm.LIBRARY.is_usable()
