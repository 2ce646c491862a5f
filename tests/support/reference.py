"""Environments with packages that the project's own does not have, for slow tests.

.cache/reference is made once, with PyTorch and a Transformers that still has Jukebox.
JUKEJAX_REFERENCE names an environment that is there already.
"""

import functools
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch==2.13.0", "transformers==4.49.0", "numpy<3")


@functools.cache
def _python() -> tuple[Path | None, str]:
    """(interpreter, why there is none)."""
    folder = Path(os.environ.get("JUKEJAX_REFERENCE", ROOT / ".cache" / "reference"))
    python = folder / "bin" / "python"
    check = [str(python), "-c", "import torch, transformers"]
    if python.exists() and not subprocess.run(check, capture_output=True).returncode:
        return python, ""
    if "JUKEJAX_REFERENCE" in os.environ:
        return None, f"JUKEJAX_REFERENCE={folder} has no torch and transformers"
    for step in (
        [sys.executable, "-m", "venv", folder],
        [python, "-m", "pip", "install", *PACKAGES],
    ):
        done = subprocess.run(list(map(str, step)), capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["?"])[-1]
            return None, f"the reference environment cannot be built: {last}"
    return python, ""


def run(*args: str, ours: bool = False, code: int = 0) -> subprocess.CompletedProcess:
    """Runs that Python; `ours`: with this project and its packages in front of its own.

    Skips the test, with the reason, where the environment cannot be built.
    """
    python, reason = _python()
    if python is None:
        pytest.skip(reason)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "TRANSFORMERS_VERBOSITY": "error"}
    if ours:
        environment["PYTHONPATH"] = f"{ROOT}:{sysconfig.get_path('purelib')}"
    command = list(map(str, (python, *args)))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == code, f"{args}: {done.returncode}\n{done.stderr[-3000:]}"
    return done


def verb(name: str, *args: str, code: int = 0) -> subprocess.CompletedProcess:
    """A command of ours where torch is."""
    return run("-m", f"jukejax.{name}", *args, ours=True, code=code)
