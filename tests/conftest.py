"""Two fake devices, cached compilation, no implicit dtype or rank promotion surprises."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in flags:
    flags += " --xla_force_host_platform_device_count=2"
os.environ["XLA_FLAGS"] = flags
cache = Path(__file__).resolve().parents[1] / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def key():
    """A fresh key a call: key(), key(), ..."""
    root = jax.random.key(0)
    count = iter(range(1_000_000))
    return lambda: jax.random.fold_in(root, next(count))
