"""Preparing with Apache Beam: on its own runner, and on a real job server."""

import contextlib
import importlib.util
import subprocess
import sys
import time

import pytest
import soundfile

from jukejax.common import extras
from jukejax.preparation import beam_runner
from tests.support.preparation import (
    RATE,
    contents,
    music,
    prepare,
    prepare_in_new_process,
)

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="Apache Beam is not installed (the extra `beam`)",
)
pytestmark = pytest.mark.filterwarnings("default")  # Beam's own

DIRECT = "--runner=DirectRunner --direct_running_mode=multi_processing --direct_num_workers=2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five good files and a bad one."""
    root = tmp_path_factory.mktemp("music")
    for i in range(5):
        soundfile.write(root / f"{i}.flac", music(seed=i), RATE)
    (root / "notes.mp3").write_text("this is a text file\n" * 50)
    return root


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """The dataset that one machine makes of it."""
    output = tmp_path_factory.mktemp("alone")
    prepare(f"--input={folder}", f"--output={output}")
    return contents(output)


@contextlib.contextmanager
def job_server(folder):
    """Beam's Python job server in a process of its own; gives its address."""
    port_file = folder / "port"
    module = "apache_beam.runners.portability.local_job_service_main"
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--port_file", str(port_file)], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 60
        while not port_file.exists() or not port_file.read_text().strip():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the job server did not start"
            time.sleep(0.1)
        yield f"localhost:{port_file.read_text().strip()}"
    finally:
        process.kill()
        process.wait()


def prepare_with_beam(folder, output, options):
    flags = [f"--input={folder}", f"--output={output}", "--runner=beam"]
    return prepare_in_new_process(*flags, f"--beam_options={options}", warnings="default")


@needs_beam
def test_two_processes_of_beam_make_the_bytes_that_one_machine_makes(folder, alone, tmp_path):
    out, _ = prepare_with_beam(folder, tmp_path, DIRECT)
    assert contents(tmp_path) == alone
    assert "notes.mp3: not audio: a text file" in out
    assert sorted(path.suffix for path in (tmp_path / ".work").iterdir()).count(".npy") == 5
    assert not list((tmp_path / ".work").glob("results-*"))


@needs_beam
def test_a_job_server_makes_the_same_bytes(folder, alone, tmp_path):
    (tmp_path / "server").mkdir()
    with job_server(tmp_path / "server") as address:
        options = f"--runner=PortableRunner --job_endpoint={address} --environment_type=LOOPBACK"
        prepare_with_beam(folder, tmp_path / "data", options)
    assert contents(tmp_path / "data") == alone


@needs_beam
def test_beam_finds_what_one_machine_has_made(folder, alone, tmp_path):
    prepare(f"--input={folder}", f"--output={tmp_path}")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / ".work").glob("*.npy")}
    assert len(stamps) == 5
    prepare_with_beam(folder, tmp_path, "")
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / ".work").glob("*.npy")}
    assert contents(tmp_path) == alone


@needs_beam
def test_a_failed_pipeline_prints_the_reason_in_one_line(folder, tmp_path):
    flags = [f"--input={folder}", f"--output={tmp_path / 'd'}", "--runner=beam"]
    _, err = prepare_in_new_process(*flags, "--cache=/proc", code=2, warnings="default")
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "the Beam pipeline failed" in lines[0]
    assert "No such file or directory: '/proc/" in lines[0]


@needs_beam
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--direct_num_wrokers=2", "direct_num_wrokers, which is no flag of Beam"),
        ("direct_num_workers=2", "holds 'direct_num_workers=2'; write Beam's flags as"),
        ("--direct_num_workers=two", "is not what Beam accepts"),
    ],
)
def test_options_that_beam_does_not_know_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        beam_runner.parse_options(options)


@pytest.mark.skipif(not needs_beam.args[0], reason="Apache Beam is installed")
def test_without_beam_the_missing_extra_is_named(folder, tmp_path):
    flags = (f"--input={folder}", f"--output={tmp_path}", "--runner=beam")
    _, err = prepare(*flags, code=2)
    assert "--runner=beam needs Apache Beam" in err
    assert extras.format_install("beam") in err
    assert not contents(tmp_path)
