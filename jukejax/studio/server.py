"""The server of the studio: the page, the addresses of its files, and the queue."""

import asyncio
import importlib.util
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from jukejax.common import output_locks
from jukejax.common.extras import format_install
from jukejax.studio.place import Place
from jukejax.studio.studio import Studio

_CANCELLED = "timeout graceful shutdown exceeded"  # the end of a message of uvicorn
UPLOAD_LIMIT = "200mb"
CLOSING_SECONDS = 2  # for requests in progress, when the server ends


def serve_studio(
    root: Path, place: Place, *, models: dict[str, str], corpora: Sequence[Path], opens: bool
) -> None:
    """Runs the server until it is stopped.

    Raises:
      ValueError: the extra `ui` is missing; the port or the folder is in use.
    """
    place.check()
    root.mkdir(parents=True, exist_ok=True)
    with output_locks.lock_file(root / ".lock", root, "serve"), _listen(place) as listener:
        os.environ["GRADIO_TEMP_DIR"] = str((root / ".uploads").resolve())
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        _check_extra()
        studio = Studio(root, models=models, corpora=corpora)
        studio.queue.start(prepares=True)  # while the page is imported
        try:
            import uvicorn

            from jukejax.studio.application import make_application

            application = make_application(studio, place, upload_limit=UPLOAD_LIMIT)
            name = f"[{place.host}]" if ":" in place.host else place.host
            address = f"http://{name}:{listener.getsockname()[1]}/"
            print(f"jukejax studio: {address} (projects in {studio.root})", flush=True)
            if opens:
                _open_browser(address)
            config = uvicorn.Config(
                application, log_level="warning", timeout_graceful_shutdown=CLOSING_SECONDS
            )
            logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            studio.queue.close()


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Returns false for what uvicorn logs when the server ends and a page is still open."""
    error = record.exc_info[1] if record.exc_info else None
    return not str(record.msg).endswith(_CANCELLED) and not isinstance(
        error, asyncio.CancelledError
    )


def _check_extra() -> None:
    for name in ("gradio", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"the studio needs the extra ui ({name} is missing): make serve, or "
                f"{format_install('ui')}"
            )


def _listen(place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((place.host, place.port))
    except OSError as error:
        listener.close()
        raise ValueError(
            f"--host={place.host} --port={place.port} cannot be used ({error.strerror}); take "
            "another --port, 0 for any"
        ) from error
    return listener


def _open_browser(address: str) -> None:
    """Opens the page in the browser of this machine, if it has one."""
    import webbrowser

    webbrowser.open(address)
