"""Compiler flags and memory settings: where they are set, and where they are not."""

import os

import pytest
from ml_collections import ConfigDict

from jukejax.runtime import platform_flags


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
        platform_flags.set_defaults(*platform_flags.transformer_shape(narrow))
        assert "XLA_FLAGS" not in environment
    for changed in ({"emb_dim": 512}, {"seq_len": 8192}):
        large = ConfigDict({"model": {"transformer": {"emb_dim": 256, "seq_len": 1024} | changed}})
        platform_flags.set_defaults(*platform_flags.transformer_shape(large))
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


def test_several_cpu_devices_have_more_threads(environment):
    platform_flags.enlarge_thread_pool()
    assert "NPROC" not in environment
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    platform_flags.enlarge_thread_pool()
    assert environment.pop("NPROC") == "64"
    environment["NPROC"] = "4"
    platform_flags.enlarge_thread_pool()
    assert environment.pop("NPROC") == "4"
    environment["JAX_PLATFORMS"] = "cuda"
    platform_flags.enlarge_thread_pool()
    assert "NPROC" not in environment


def test_compiled_programs_are_kept_in_the_checkout_or_in_the_users_cache(
    environment, monkeypatch, tmp_path
):
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(platform_flags.files, "REPOSITORY", tmp_path)
    platform_flags.set_compile_cache()
    folder = environment["JAX_COMPILATION_CACHE_DIR"]
    assert folder.startswith(f"{tmp_path}/.cache/jax/")
    environment["JAX_COMPILATION_CACHE_DIR"] = "/mine"
    platform_flags.set_compile_cache()
    assert environment.pop("JAX_COMPILATION_CACHE_DIR") == "/mine"
    monkeypatch.setattr(platform_flags.files, "REPOSITORY", tmp_path / "site-packages")
    environment["XDG_CACHE_HOME"] = str(tmp_path / "home")
    platform_flags.set_compile_cache()
    assert environment["JAX_COMPILATION_CACHE_DIR"].startswith(f"{tmp_path}/home/jukejax/jax/")
