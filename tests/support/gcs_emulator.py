"""A server on this machine that stands for Google Cloud Storage: gcp-storage-emulator."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

BUCKET = "jukejax-test"
_SERVER = "from gcp_storage_emulator.__main__ import main; main()"


@contextlib.contextmanager
def run_emulator() -> Iterator[dict[str, str]]:
    """Starts a server with an empty bucket; yields the environment variables of its clients."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = ("start", "--host=localhost", f"--port={port}", "--in-memory")
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, *flags, f"--default-bucket={BUCKET}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://localhost:{port}"
    try:
        _wait_for_server(f"{endpoint}/storage/v1/b/{BUCKET}")
        yield {
            "STORAGE_EMULATOR_HOST": endpoint,
            "TENSORSTORE_GCS_HTTP_URL": endpoint,
            # Without these each call of gcsfs 2026.10 looks for credentials of the real service.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "FSSPEC_GCS_TOKEN": "anon",
        }
    finally:
        process.kill()
        process.wait()


def _wait_for_server(url: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)
        else:
            return
