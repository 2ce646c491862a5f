"""Descriptions of devices that are not here, and flags for those that are."""

import importlib.util
import os
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from jukejax.benches.aot import topologies
from jukejax.benches.aot.topologies import Topology
from jukejax.runtime import platform_flags
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
    topology = topologies.parse(text, slices)
    assert (topology.kind, topology.size) == (kind, size)
    assert topology.is_tpu == (kind != "v100")


@pytest.mark.parametrize(
    ("text", "slices", "said"),
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
def test_bad_topology_is_refused_with_its_value(text, slices, said):
    with pytest.raises(ValueError, match=said):
        topologies.parse(text, slices)


def test_missing_compiler_names_the_command_that_fetches_it(monkeypatch, tmp_path):
    monkeypatch.setattr(topologies, "PACKAGES", tmp_path)
    monkeypatch.delitem(sys.modules, "jax")
    for text in ("v100:8", "v5e:4x4"):
        with pytest.raises(ValueError, match=r"aot_check\.sh fetch"):
            topologies.prepare(topologies.parse(text))


def test_fetching_leaves_compilers_that_are_there(monkeypatch, tmp_path):
    """The script looks for the files that `prepare` needs, and then asks no package index."""
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
    topologies.prepare(Topology("v5e", (4, 4)))
    if importlib.util.find_spec("libtpu") is None:
        assert os.environ["TPU_LIBRARY_PATH"] == str(library)


def test_setting_up_after_jax_is_a_bug():
    with pytest.raises(RuntimeError, match="before jax is imported"):
        topologies.prepare(Topology("v5e", (4, 4)))


def test_setting_up_for_gpus_finds_ptxas_and_keeps_the_users_flags(monkeypatch, tmp_path):
    ptxas = tmp_path / "cuda" / "nvidia" / "cuda_nvcc" / "bin" / "ptxas"
    ptxas.parent.mkdir(parents=True)
    ptxas.touch()
    (tmp_path / "cuda" / "jax_plugins").mkdir()
    monkeypatch.setattr(topologies, "PACKAGES", tmp_path)
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin", "XLA_FLAGS": "--xla_dump_to=/tmp/x"})
    monkeypatch.setattr(sys, "path", list(sys.path))
    topologies.prepare(Topology("v100", (8,)), "O1")
    assert os.environ["PATH"] == f"{ptxas.parent}:/usr/bin"
    assert os.environ["XLA_FLAGS"].startswith("--xla_dump_to=/tmp/x --xla_gpu_cuda_data_dir=")
    assert os.environ["JAX_OPTIMIZATION_LEVEL"] == "O1"
    assert os.environ["JAX_PLATFORMS"] == "cpu"
    assert sys.path[0] == str(tmp_path / "cuda")


def test_gpu_is_described_with_its_own_figures():
    text = topologies.target_config(topologies.GPUS["v100"])
    for line in ("core_count: 80", "memory_bandwidth: 900000000000", "major: 7 minor: 0"):
        assert line in text
    assert text.count("{") == text.count("}")


@pytest.fixture
def environment(monkeypatch):
    """An empty environment, with jaxlib 0.10."""
    found = {"JAX_PLATFORMS": "cpu"}
    monkeypatch.setattr(os, "environ", found)
    monkeypatch.setattr(platform_flags.importlib.metadata, "version", lambda _: "0.10.2")
    return found


def test_cpu_flags_are_set_where_the_user_did_not(environment):
    platform_flags.set_defaults(1024, 512)
    name, value = next(iter(platform_flags.CPU_FLAGS["0.10"].items()))
    assert environment["XLA_FLAGS"] == f"{name}={value}"
    environment["XLA_FLAGS"] = f"--xla_dump_to=/tmp/x {name}=OTHER"
    platform_flags.set_defaults(1024, 512)
    assert environment["XLA_FLAGS"] == f"--xla_dump_to=/tmp/x {name}=OTHER"


def test_small_models_and_others_keep_their_flags(environment):
    config = ConfigDict({"model": {"transformer": {"emb_dim": 256, "seq_len": 1024}}})
    for narrow in (config, ConfigDict({"model": {}}), ConfigDict()):
        platform_flags.set_defaults(*platform_flags.shape(narrow))
        assert "XLA_FLAGS" not in environment
    for changed in ({"emb_dim": 512}, {"seq_len": 8192}):
        large = ConfigDict({"model": {"transformer": {"emb_dim": 256, "seq_len": 1024} | changed}})
        platform_flags.set_defaults(*platform_flags.shape(large))
        assert "LIBRARY_FUSION_TYPE_DOT" in environment.pop("XLA_FLAGS")


def test_accelerators_and_unknown_releases_keep_their_flags(environment, monkeypatch):
    environment["JAX_PLATFORMS"] = "cuda,cpu"
    platform_flags.set_defaults(1024, 512)
    assert "XLA_FLAGS" not in environment
    environment["JAX_PLATFORMS"] = "cpu"
    monkeypatch.setattr(platform_flags.importlib.metadata, "version", lambda _: "0.12.0")
    platform_flags.set_defaults(1024, 512)
    assert "XLA_FLAGS" not in environment


def test_memory_is_kept_on_cpus_only(monkeypatch):
    calls = []

    class Malloc:
        def mallopt(self, parameter, value):
            calls.append((parameter, value))

    monkeypatch.setattr(platform_flags.ctypes, "CDLL", lambda _: Malloc())
    monkeypatch.setattr(platform_flags.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    platform_flags.keep_memory()
    assert not calls
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    platform_flags.keep_memory()
    assert dict(calls) == platform_flags.KEEP_MEMORY
    monkeypatch.setattr(platform_flags.platform, "libc_ver", lambda: ("", ""))
    calls.clear()
    platform_flags.keep_memory()
    assert not calls


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        (["python", "-m", "jukejax.train", "--config=x"], True),
        (["python3", "/x/bin/jukejax", "train"], True),
        (["python", "-m", "pytest"], False),
        (["python", "script.py"], False),
        (["python"], False),
    ],
)
def test_only_our_own_commands_start_again_with_huge_pages(monkeypatch, words, ours):
    started = []
    monkeypatch.setattr(os, "environ", {"GLIBC_TUNABLES": "glibc.cpu.x=1"})
    monkeypatch.setattr(os, "execv", lambda *told: started.append(told))
    monkeypatch.setattr(platform_flags.sys, "orig_argv", words)
    platform_flags._start_again_with_huge_pages()
    assert started == ([(sys.executable, [sys.executable, *words[1:]])] if ours else [])
    if ours:
        assert os.environ["GLIBC_TUNABLES"] == "glibc.cpu.x=1:glibc.malloc.hugetlb=1"
        platform_flags._start_again_with_huge_pages()  # and only once
        assert len(started) == 1
