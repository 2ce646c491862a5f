"""The source distribution and the wheel, installed outside of a checkout."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import jukejax
from jukejax.common import files
from tests.support.command import ROOT, environment

SOURCES = ("jukejax", "configs", "docs", "launch")
BUILD = "import sys, setuptools.build_meta as build; getattr(build, sys.argv[1])(sys.argv[2])"
PROGRAM = """
import jukejax
from jukejax.common import extras
from jukejax.ops.cpu import norm
print(jukejax.__file__, jukejax.__version__, jukejax.load().levels)
print(extras.format_install("beam"))
print(norm.LIBRARY.find_fault())
"""


def run(folder: Path, *command: str, code: int = 0, **variables: str) -> str:
    """Runs a command in a folder, without the checkout on its path; returns what it prints."""
    inherited = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=inherited | variables, capture_output=True, text=True
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Returns a folder with the source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    copy, dist = folder / "copy", folder / "dist"
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, copy)
    run(copy, sys.executable, "-c", BUILD, "build_sdist", str(dist))
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    source = folder / archive.name.removesuffix(".tar.gz")
    run(source, sys.executable, "-c", BUILD, "build_wheel", str(dist), JUKEJAX_CPU_KERNELS="0")
    return dist


@pytest.fixture(scope="module")
def place(dist, tmp_path_factory):
    """Returns a folder with an environment, env, in which the wheel is installed.

    It takes the dependencies from the environment of the tests. The checkout is not on its path, as
    Python reads the .pth files of its own environment only.
    """
    folder = tmp_path_factory.mktemp("place")
    run(folder, sys.executable, "-m", "venv", "--without-pip", "env")
    python = folder / "env" / "bin" / "python"
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    (wheel,) = dist.glob("*.whl")
    pip = ("-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index")
    run(folder, sys.executable, *pip, str(wheel))
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.mark.slow
def test_the_wheel_holds_configs_and_the_shipped_model(dist):
    (wheel,) = dist.glob("*.whl")
    assert wheel.name == f"jukejax-{jukejax.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    configs = {f"jukejax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assets = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "jukejax" / "assets").rglob("*")
        if path.is_file()
    }
    assert configs | assets <= names
    assert not {name for name in names if name.startswith(("tests/", "configs/"))}
    assert not {name for name in names if name.endswith((".cc", ".h", ".so"))}


@pytest.mark.slow
def test_commands_run_outside_of_a_checkout(place):
    jukejax_command = str(place / "env" / "bin" / "jukejax")
    run(place, jukejax_command, "sample", "--levels=2", "--seconds=2", "--bpm=122", "--output=out")
    assert files.read_json(place / "out" / "item_000" / "meta.json")["seconds"] >= 2
    plan = run(place, jukejax_command, "train", "--config=house_prior:labelled", "--dry_run")
    assert "parameters" in plan
    message = run(place, jukejax_command, "train", "--config=none", "--dry_run", code=2)
    assert "no config file none; give one of from_scratch, grid, house_lyrics" in message
    run(place, jukejax_command, "doctor")


@pytest.mark.slow
def test_the_api_runs_outside_of_a_checkout(place):
    printed = run(place, str(place / "env" / "bin" / "python"), "-c", PROGRAM)
    assert printed.startswith(str(place / "env"))
    assert f"{jukejax.__version__} (2, 1, 0)" in printed
    assert "'.[beam]' in a checkout of jukejax" in printed
    assert "not built" in printed
