"""Choice of a separator, and the search for its weights."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jukejax.preparation import separators
from jukejax.weights import spleeter as weights_file


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No weights to be found."""
    monkeypatch.delenv(separators.VARIABLE, raising=False)
    monkeypatch.setattr(separators, "CACHED", tmp_path / "cache" / separators.FILE)
    return tmp_path


def test_without_weights_the_default_is_none(nowhere):
    separator = separators.make_separator()
    assert separator == separators.Separator("none")
    assert separator.name == "none"
    assert separator.record() == {"method": "none"}
    mix = np.ones((10, 2), np.float32)
    np.testing.assert_array_equal(np.concatenate(list(separator.separate(mix))), mix)


def test_weights_are_found_by_flag_then_variable_then_cache(nowhere, monkeypatch):
    def write(folder):
        path = nowhere / folder / separators.FILE
        path.parent.mkdir(exist_ok=True)
        path.write_text(folder)
        return str(path)

    def found(weights=None, method=None):
        separator = separators.make_separator(method, weights)
        assert separator.method == "spleeter"
        assert len(separator.hash) == 64
        return separator.weights

    assert found(method="spleeter", weights=write("flag")) == str(
        nowhere / "flag" / separators.FILE
    )
    assert write("cache") == found() == found(method="spleeter")
    monkeypatch.setenv(separators.VARIABLE, write("variable"))
    assert found() == str(nowhere / "variable" / separators.FILE)
    assert found(weights=str(nowhere / "flag")) == str(nowhere / "flag" / separators.FILE)
    first, second = (separators.make_separator(None, str(nowhere / x)) for x in ("flag", "cache"))
    assert first.hash != second.hash
    assert first.record() == {"method": "spleeter", "weights_sha256": first.hash}


def test_missing_weights_and_unknown_methods_are_named(nowhere, monkeypatch):
    with pytest.raises(ValueError, match="--separator=spleeter needs Deezer's weights: run `make"):
        separators.make_separator("spleeter")
    with pytest.raises(ValueError, match=r"--separator_weights=/no/file: there is no file"):
        separators.make_separator(None, "/no/file")
    with pytest.raises(ValueError, match="--separator=magic is unknown; there are none, repet, sp"):
        separators.make_separator("magic")
    with pytest.raises(ValueError, match="--separator_weights=x is for --separator=spleeter, not"):
        separators.make_separator("repet", "x")
    monkeypatch.setenv(separators.VARIABLE, "/no/file")
    with pytest.raises(ValueError, match=rf"\${separators.VARIABLE}=/no/file: there is no file"):
        separators.make_separator()


def test_making_a_separator_imports_no_jax_and_the_file_name_is_the_same():
    code = (
        "import sys; from jukejax.preparation import separators; "
        "separators.make_separator('repet'); "
        "print('jax' in sys.modules, separators.uses_accelerator())"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.stdout.split() == [b"False", b"False"]
    assert separators.FILE == weights_file.FILE


@pytest.mark.parametrize(("backend", "expected"), [("cpu", False), ("gpu", True), ("tpu", True)])
def test_an_accelerator_is_found_in_another_process(monkeypatch, backend, expected):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    result = subprocess.CompletedProcess([], 0, stdout=f"a warning\n{backend}\n", stderr="")
    monkeypatch.setattr(separators.subprocess, "run", lambda *_, **__: result)
    separators.uses_accelerator.cache_clear()
    assert separators.uses_accelerator() is expected
    separators.uses_accelerator.cache_clear()


def test_a_separator_of_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="no separator 'magic'; there are none, repet, spleeter"):
        list(separators.Separator("magic").separate(np.ones((10, 2), np.float32)))
