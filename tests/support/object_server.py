"""An S3 server on this machine, moto's, that fails as it is asked to.

It runs in a process of its own, `python -m tests.support.object_server`; faults are set over HTTP.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, NoReturn

from tests.support.command import ROOT

BUCKET = "jukejax-test"
_CONTROL = "/__faults__"


@dataclass
class Fault:
    """What happens to the next requests that match.

    Attributes:
      kind: "latency" (0.3 s), "503", "cut" (half of the response, then the connection is closed),
        "dead" (half of the upload is read, then the connection is closed).
      method: of the requests.
      path: regular expression that their path matches somewhere.
      count: of requests.
    """

    kind: str
    method: str = "GET"
    path: str = ""
    count: int = 1


class FaultyApplication:
    """Passes requests to another WSGI application, and applies faults."""

    def __init__(self, application: Any):
        self._application = application
        self._faults: list[Fault] = []
        self._injected: list[str] = []
        self._requests: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == _CONTROL:
            return self._control(environ, start_response)
        self._requests.append(f"{method} {path}")
        query = environ["QUERY_STRING"]
        fault = self._take_fault(method, f"{path}?{query}" if query else path)
        if fault is None:
            return self._application(environ, start_response)
        self._injected.append(f"{fault.kind} {method} {path}")
        if fault.kind == "503":
            status = HTTPStatus.SERVICE_UNAVAILABLE
            start_response(f"{status.value} {status.phrase}", [("Content-Length", "0")])
            return []
        if fault.kind == "dead":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            _close(environ)
        if fault.kind == "latency":
            time.sleep(0.3)
            return self._application(environ, start_response)
        return _cut_response(self._application(environ, start_response), environ)

    def _take_fault(self, method: str, path: str) -> Fault | None:
        for fault in self._faults:
            if fault.count and fault.method == method and re.search(fault.path, path):
                fault.count -= 1
                return fault
        return None

    def _control(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            rows = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self._faults = [Fault(**row) for row in rows]
            self._injected.clear()
            self._requests.clear()
        content = json.dumps({"injected": self._injected, "requests": self._requests}).encode()
        start_response("200 OK", [("Content-Length", str(len(content)))])
        return [content]


def _cut_response(parts: Iterable[bytes], environ: dict[str, Any]) -> Iterator[bytes]:
    content = b"".join(parts)
    yield content[: len(content) // 2]
    _close(environ)


def _close(environ: dict[str, Any]) -> NoReturn:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


class ObjectServer:
    """The server, and its bucket `BUCKET`, as the tests see them."""

    def __init__(self, endpoint: str):
        self.endpoint = endpoint

    @property
    def environment(self) -> dict[str, str]:
        """Returns the environment variables of its clients."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def inject(self, *faults: Fault) -> None:
        """Replaces the faults, and clears the lists of faults and of requests."""
        self._call("PUT", json.dumps([asdict(fault) for fault in faults]).encode())

    def list_injected(self) -> list[str]:
        """Lists the faults that happened, as `503 GET /jukejax-test/a`."""
        return self._call("GET")["injected"]

    def list_requests(self) -> list[str]:
        """Lists the requests, as `GET /jukejax-test/a`."""
        return self._call("GET")["requests"]

    def _call(self, method: str, content: bytes | None = None) -> dict[str, list[str]]:
        request = urllib.request.Request(self.endpoint + _CONTROL, content, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


@contextlib.contextmanager
def run_server() -> Iterator[ObjectServer]:
    """Starts a server with an empty bucket, and ends it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.object_server"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        server = ObjectServer(process.stdout.readline().strip())
        url = f"{server.endpoint}/{BUCKET}"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30).close()
        yield server
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Serves until it is killed; prints the address."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = FaultyApplication(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
