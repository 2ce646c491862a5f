"""`sample` as a process that is killed, interrupted, or out of disk, and is resumed."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jukejax.data.codes_file import read_codes_file
from tests.integration.test_disk_full import NAMESPACE, can_mount
from tests.support import small_bundle
from tests.support.command import command, environment, run, stop_when
from tests.support.small_sample import read_files

pytestmark = pytest.mark.slow
TOP = 345 * 2  # codes of the top level, 2 s: twenty windows, and 16 times as many of level 0
CODES = TOP * (1 + 4 + 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none")


def flags(model, output, *more):
    return f"--model={model}", "--seconds=2", "--num_samples=2", f"--output={output}", *more


@pytest.fixture(scope="module", params=["sequential", "parallel"])
def schedule(request):
    return f"--schedule={request.param}", "--stream"


@pytest.fixture(scope="module")
def uninterrupted(model, schedule, tmp_path_factory):
    output = tmp_path_factory.mktemp("uninterrupted") / "out"
    run("sample", *flags(model, output, *schedule))
    return read_files(output)


def count_codes(folder):
    """Returns the number of codes of the second item so far, of all levels."""
    try:
        return sum(map(len, read_codes_file(folder / "item_001" / "codes.npz").values()))
    except ValueError:
        return 0


def wait_for_codes(folder, codes, seconds):
    """Returns a function: whether the folder has had so many codes for so many seconds."""
    since = []

    def ready():
        if count_codes(folder) >= codes:
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= seconds

    return ready


def test_run_killed_at_three_moments_ends_with_the_same_bytes(
    model, schedule, uninterrupted, tmp_path
):
    random = np.random.default_rng(0)
    moments = sorted(int(moment) for moment in random.uniform(0.02, 0.8, 3) * CODES)
    for moment in moments:
        delay = float(random.uniform(0, 0.2))
        print(f"killed {delay:.3f} s after {moment} of {CODES} codes")
        ready = wait_for_codes(tmp_path, moment, delay)
        assert stop_when("sample", *flags(model, tmp_path, *schedule), ready=ready) == -9
    run("sample", *flags(model, tmp_path, *schedule))
    found = read_files(tmp_path)
    assert found.keys() == uninterrupted.keys()
    for name, content in found.items():
        assert content == uninterrupted[name], name


@pytest.mark.parametrize(
    ("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_interrupted_run_keeps_its_codes(model, schedule, uninterrupted, tmp_path, by, code):
    early = CODES // 10  # within level 1: parallel windows of level 0 may end within a moment
    ready = wait_for_codes(tmp_path, early, 0.1)
    asked = flags(model, tmp_path, *schedule)
    assert stop_when("sample", *asked, ready=ready, with_signal=by) == code
    assert count_codes(tmp_path) >= early
    run("sample", *asked)
    assert read_files(tmp_path) == uninterrupted


FULL = """
set -e
mount -t tmpfs -o size=$SIZE none "$DISK"
"$PYTHON" -m jukejax.sample "$@" --output="$DISK/out" 2>"$OUT/err" && exit 9
[ $? -eq 2 ]
mount -o remount,size=64m "$DISK"
"$PYTHON" -m jukejax.sample "$@" --output="$DISK/out"
cp -r "$DISK/out" "$OUT/made"
"""


@pytest.mark.skipif(not can_mount(), reason="no tmpfs can be mounted in a user namespace here")
@pytest.mark.parametrize("size", ["200k", "500k", "900k"])
def test_full_disk_is_one_error_and_the_run_is_resumed(
    model, schedule, uninterrupted, tmp_path, size
):
    for name in ("disk", "out"):
        (tmp_path / name).mkdir()
    variables = {"SIZE": size, "DISK": tmp_path / "disk", "OUT": tmp_path / "out"}
    settings = [f"{name}={value}" for name, value in variables.items()]
    start = [*NAMESPACE, "env", *settings, f"PYTHON={sys.executable}", "sh", "-c", FULL, "sample"]
    asked = [flag for flag in flags(model, "", *schedule) if not flag.startswith("--output")]
    done = subprocess.run(
        [*start, *asked], env=environment(), capture_output=True, text=True, timeout=300
    )
    said = (tmp_path / "out" / "err").read_text()
    assert done.returncode == 0, (done.stderr, said)
    place = tmp_path / "disk" / "out"
    assert [line for line in said.splitlines() if line.startswith("error: ")] == [
        f"error: the disk of {place} is full; make room and run again: finished work is kept"
    ]
    assert "Traceback" not in said
    assert read_files(tmp_path / "out" / "made") == uninterrupted


def test_interrupt_does_not_wait_for_the_device(model, tmp_path):
    """SIGINT while the first program is being compiled or run ends the process at once."""
    process = subprocess.Popen(
        command("sample", *flags(model, tmp_path / "out")),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "out" / "item_001" / "meta.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert said.splitlines()[-2:] == [
        f"{tmp_path / 'out'} keeps finished work; the same command resumes it",
        "interrupted",
    ]
