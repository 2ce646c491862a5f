"""Descriptions of devices that are not here, and the set-up of their compilers."""

import importlib.util
import os
import subprocess
import sys

import pytest

from jukejax.benches.aot import topologies
from jukejax.benches.aot.topologies import Topology
from tests.support.command import ROOT


@pytest.mark.parametrize(
    ("text", "slices", "kind", "size"),
    [
        ("v5e:16x16", 1, "v5e", 256),
        ("v4:4x4x8", 1, "v4", 128),
        ("v5e:8x16", 2, "v5e", 256),
        ("v100:8", 1, "v100", 8),
    ],
)
def test_topology_has_the_devices_of_its_shape(text, slices, kind, size):
    topology = topologies.parse_topology(text, slices)
    assert (topology.kind, topology.size) == (kind, size)
    assert topology.is_tpu == (kind != "v100")


@pytest.mark.parametrize(
    ("text", "slices", "message"),
    [
        ("v5e", 1, "KIND:SHAPE"),
        ("v5e:16by16", 1, "KIND:SHAPE"),
        ("v9:4x4", 1, "known kinds: v4, v5e"),
        ("v5e:4x4x4", 1, "must have 2 sizes, as in v5e:4x4"),
        ("v4:4x4", 1, "must have 3 sizes"),
        ("h200:2x4", 1, "must have 1 sizes, as in h200:8"),
        ("h200:8", 2, "--slices=2"),
        ("v5e:4x4", 0, "--slices=0"),
    ],
)
def test_bad_topology_is_refused_with_its_value(text, slices, message):
    with pytest.raises(ValueError, match=message):
        topologies.parse_topology(text, slices)


def test_missing_compiler_names_the_command_that_fetches_it(monkeypatch, tmp_path):
    monkeypatch.setattr(topologies, "PACKAGES", tmp_path)
    monkeypatch.delitem(sys.modules, "jax")
    for text in ("v100:8", "v5e:4x4"):
        with pytest.raises(ValueError, match=r"aot_check\.sh fetch"):
            topologies.set_environment(topologies.parse_topology(text))


def test_fetching_keeps_installed_compilers(monkeypatch, tmp_path):
    """The script checks for the files of `set_environment` before it asks a package index."""
    library = tmp_path / "tpu" / "libtpu" / "libtpu.so"
    ptxas = tmp_path / "cuda" / "nvidia" / "cuda_nvcc" / "bin" / "ptxas"
    for path in (library, ptxas):
        path.parent.mkdir(parents=True)
        path.touch()
    environment = os.environ | {"JUKEJAX_AOT": str(tmp_path), "PYTHON": sys.executable}
    script = ROOT / "launch" / "aot_check.sh"
    done = subprocess.run(
        ["bash", script, "fetch"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cuda", "tpu"]
    monkeypatch.setattr(topologies, "PACKAGES", tmp_path)
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setattr(os, "environ", {})
    topologies.set_environment(Topology("v5e", (4, 4)))
    if importlib.util.find_spec("libtpu") is None:
        assert os.environ["TPU_LIBRARY_PATH"] == str(library)


def test_setting_up_after_jax_was_imported_is_refused():
    with pytest.raises(RuntimeError, match="before jax is imported"):
        topologies.set_environment(Topology("v5e", (4, 4)))


def test_setting_up_for_gpus_finds_ptxas_and_keeps_the_users_flags(monkeypatch, tmp_path):
    ptxas = tmp_path / "cuda" / "nvidia" / "cuda_nvcc" / "bin" / "ptxas"
    ptxas.parent.mkdir(parents=True)
    ptxas.touch()
    (tmp_path / "cuda" / "jax_plugins").mkdir()
    monkeypatch.setattr(topologies, "PACKAGES", tmp_path)
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin", "XLA_FLAGS": "--xla_dump_to=/tmp/x"})
    monkeypatch.setattr(sys, "path", list(sys.path))
    topologies.set_environment(Topology("v100", (8,)), "O1")
    assert os.environ["PATH"] == f"{ptxas.parent}:/usr/bin"
    assert os.environ["XLA_FLAGS"].startswith("--xla_dump_to=/tmp/x --xla_gpu_cuda_data_dir=")
    assert os.environ["JAX_OPTIMIZATION_LEVEL"] == "O1"
    assert os.environ["JAX_PLATFORMS"] == "cpu"
    assert sys.path[0] == str(tmp_path / "cuda")


def test_gpu_is_described_with_its_own_figures():
    text = topologies.format_target_config(topologies.GPUS["v100"])
    for line in ("core_count: 80", "memory_bandwidth: 900000000000", "major: 7 minor: 0"):
        assert line in text
    assert text.count("{") == text.count("}")
