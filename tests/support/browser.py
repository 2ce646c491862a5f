"""A server of the studio as its own process, and Debian's chromium that looks at it."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.command import ROOT, environment

SECONDS = 900  # longest wait for a job; on a busy machine a sketch may take minutes
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def skip_without_browser() -> None:
    """Skips a test where the page or the browser is missing; names what installs it."""
    pytest.importorskip("gradio", reason="needs the extra ui: make serve")
    pytest.importorskip("playwright", reason="needs the extra browser: make test-slow")
    if CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium")


def user_environment() -> dict[str, str]:
    """Returns the environment of a user: without what tests/conftest.py sets, which is slower."""
    set_by_tests = ("JUKEJAX_CPU_KERNELS", "JAX_DEFAULT_MATMUL_PRECISION", "XLA_FLAGS")
    return {name: value for name, value in environment().items() if name not in set_by_tests}


class Server:
    """`jukejax serve` over a folder of projects.

    Attributes:
      address: of the page.
    """

    def __init__(self, root: Path, port: int = 0):
        self.log = root.with_suffix(".log")
        self._file = open(self.log, "a")  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jukejax.serve", f"--projects={root}", f"--port={port}"],
            cwd=ROOT,
            env=user_environment(),
            stdout=subprocess.PIPE,
            stderr=self._file,
            text=True,
        )
        line = self._process.stdout.readline()
        assert "http://" in line, self.log.read_text()
        self.address = line.partition("studio: ")[2].partition(" ")[0]
        self.port = int(self.address.rstrip("/").rpartition(":")[2])
        wait_for(lambda: self._answers(), "the server does not answer", seconds=120)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.address, timeout=30) as response:
                return response.status == 200
        except OSError:
            return False

    def end(self, with_signal: int = signal.SIGTERM) -> int:
        """Ends the server; returns its exit code."""
        self._process.send_signal(with_signal)
        code = self._process.wait(120)
        self._process.stdout.close()
        self._file.close()
        return code

    def is_running(self) -> bool:
        """Returns true until it has ended."""
        return self._process.poll() is None


def wait_for(condition, message: str, seconds: float = SECONDS) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.2)


def open_browser(playwright, **keywords):
    """Starts chromium; it plays sound without a click, into nothing."""
    arguments = ["--no-sandbox", "--mute-audio", "--autoplay-policy=no-user-gesture-required"]
    return playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, **keywords)


def screenshot_folder(default: Path) -> Path:
    """Returns the folder of screenshots: JUKEJAX_SCREENSHOTS, or else that of the test."""
    folder = Path(os.environ.get("JUKEJAX_SCREENSHOTS", default))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
