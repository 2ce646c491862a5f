"""A server on this machine that stands for Google Cloud Storage: gcp-storage-emulator.

It runs in a process of its own, `python -m tests.support.gcs_emulator PORT`.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

from tests.support.command import ROOT

BUCKET = "jukejax-test"


@contextlib.contextmanager
def run_emulator() -> Iterator[dict[str, str]]:
    """Starts a server with an empty bucket; yields the environment variables of its clients."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.gcs_emulator", str(port)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
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


def main() -> None:
    """Serves an empty bucket at the port of the command line until it is killed."""
    import http.server

    from gcp_storage_emulator.handlers import objects

    download = objects.download

    def download_with_generation(request, response, storage, *args, **kwargs):
        """Adds the header that TensorStore needs and the emulator (2026.7) leaves out."""
        bucket, name = (request.params[key] for key in ("bucket_name", "object_id"))
        with contextlib.suppress(objects.NotFound):
            response["x-goog-generation"] = storage.get_file_obj(bucket, name)["generation"]
        return download(request, response, storage, *args, **kwargs)

    objects.download = download_with_generation
    http.server.HTTPServer.request_queue_size = 128
    from gcp_storage_emulator.server import create_server

    server = create_server("localhost", int(sys.argv[1]), True, BUCKET)
    server.run()


if __name__ == "__main__":
    main()
