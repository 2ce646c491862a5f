"""What setup.py compiles: its forms for other processors, and what happens without it."""

import importlib.machinery
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jukejax.ops import attention_native, compiled, convolution, kernel_gradient, norm, products

USERS = (attention_native, convolution, kernel_gradient, norm, products)


@pytest.mark.skipif(not products.usable(), reason="nothing was compiled")
@pytest.mark.parametrize(
    ("without", "users"), [("JUKEJAX_NO_AVX512", USERS), ("JUKEJAX_NO_TILES", (products,))]
)
def test_the_forms_for_other_processors_are_right(without, users):
    names = [user.__name__.split(".")[-1] for user in users]
    tests = [f"tests/test_{name}.py" for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "--basetemp=.cache/pytest-other", *tests]
    told = {**os.environ, without: "1"}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, env=told, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.__name__.split(".")[-1])
def test_without_a_library_or_with_a_broken_one_xla_does_the_work(monkeypatch, tmp_path, user):
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    compiled.load.cache_clear()
    try:
        for spec in (None, importlib.machinery.ModuleSpec("x", None, origin=str(broken))):
            monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name, spec=spec: spec)
            assert not user.usable()
            compiled.load.cache_clear()
    finally:
        monkeypatch.undo()
        compiled.load.cache_clear()


def test_programs_for_other_machines_have_no_custom_calls():
    """Also those that were traced for this one before, and the other way."""
    x, vector = jnp.ones((128, 64)), jnp.ones(64)
    work = jax.jit(lambda x: norm.layer_norm(x, vector, vector))
    here = work.lower(x).as_text()
    with compiled.left_out():
        assert norm.TARGET not in work.lower(x).as_text()
    assert work.lower(x).as_text() == here
    assert (norm.TARGET in here) == norm.usable()
