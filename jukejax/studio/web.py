"""The addresses of the server beside the page: sounds, pictures and reports of takes.

Every request passes `Guard`: its Host must be one of ours, so that no other site reaches a server
on this machine by a name of its own; one that is sent from another site is refused; and with
--auth the user and the password are needed, for the page and everything else alike.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from jukejax.studio import previews, views
from jukejax.studio.names import resolve_below
from jukejax.studio.studio import Studio

ASSETS = Path(__file__).resolve().parents[1] / "assets" / "studio"
REPORTS = "/reports"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "SAMEORIGIN",
}
_REPORT_POLICY = (
    "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
)
_REPORT_KINDS = ("evaluation", "audit")


class Guard:
    """Refuses requests by their Host, their origin, and their password.

    Attributes:
      hosts: allowed names in the Host header; empty: any.
      login: user and password; None: none is needed.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], login: tuple[str, str] | None):
        self._app, self.hosts, self.login = app, tuple(hosts), login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # the page needs no web sockets
        request = Request(scope)
        refusal = self._refuse(request)
        await (refusal or self._app)(scope, receive, send)

    def _refuse(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if self.hosts and _strip_port(host) not in self.hosts:
            return PlainTextResponse("this server does not have that name", 421)
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("requests from other sites are refused", 403)
        if self.login is not None and not _matches(
            request.headers.get("authorization"), self.login
        ):
            challenge = {"www-authenticate": 'Basic realm="jukejax", charset="UTF-8"'}
            return PlainTextResponse("user and password are needed", 401, headers=challenge)
        return None


def _strip_port(host: str) -> str:
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _matches(header: str | None, login: tuple[str, str]) -> bool:
    """Returns true if an Authorization header has this user and password."""
    scheme, _, encoded = (header or "").partition(" ")
    try:
        sent = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(sent, ":".join(login).encode())


def make_routes(studio: Studio) -> list[Route]:
    """Returns the routes of the files of takes."""
    media = MediaRoutes(studio)
    return [
        Route(views.MEDIA + "/{project}/{take}/{name}", media.send_media),
        Route(views.PREVIEWS + "/{project}/{model}.wav", media.send_preview),
        Route(REPORTS + "/{project}/{take}/{kind}/{path:path}", media.send_report),
        Route("/studio/player.js", _send_player),
    ]


class MediaRoutes:
    """Sends the files of takes; anything else is not found."""

    def __init__(self, studio: Studio):
        self._studio = studio

    def send_media(self, request: Request) -> Response:
        """Sends a sound, the codes, the picture or the description of a take."""
        project, take, name = (request.path_params[key] for key in ("project", "take", "name"))
        headers = _HEADERS | {"cache-control": "no-store"}
        try:
            if name == views.VIEW_NAME:
                if views.is_in_trash(self._studio, project, take):  # a player may still ask for it
                    return Response(status_code=204, headers=headers)
                view = views.describe_take(self._studio, project, take)
                return JSONResponse(view, headers=headers)
            if name == views.MEL_NAME:
                path = views.find_mel(self._studio, project, take)
                return FileResponse(path, headers=headers, media_type="image/png")
            path = views.find_media(self._studio, project, take, name)
            download = None
            if request.query_params.get("download"):
                download = views.make_download_name(self._studio, project, take, path)
        except (ValueError, OSError, RuntimeError) as error:
            raise HTTPException(404, "not found") from error
        kind = "audio/wav" if path.suffix == ".wav" else "application/octet-stream"
        return FileResponse(path, headers=headers, media_type=kind, filename=download)

    def send_preview(self, request: Request) -> Response:
        """Sends the newest preview of a model in training."""
        try:
            project = self._studio.open_project(request.path_params["project"])
            model, _ = project.read().find_entry(request.path_params["model"], "m")
            path = previews.write_preview(project.model_folder(model))
        except (ValueError, OSError) as error:
            raise HTTPException(404, "not found") from error
        headers = _HEADERS | {"cache-control": "no-store"}
        return FileResponse(path, headers=headers, media_type="audio/wav")

    def send_report(self, request: Request) -> Response:
        """Sends a file of the evaluation or the audit of a take."""
        project, take, kind, name = (
            request.path_params[key] for key in ("project", "take", "kind", "path")
        )
        try:
            folder = self._studio.open_project(project)
            folder.read().find_take(take)
            if kind not in _REPORT_KINDS:
                raise ValueError("there is no such report")
            path = resolve_below(folder.judged_folder(take) / kind, name)
        except (ValueError, OSError) as error:
            raise HTTPException(404, "not found") from error
        headers = _HEADERS | {"content-security-policy": _REPORT_POLICY}
        return FileResponse(path, headers=headers)


def _send_player(request: Request) -> Response:
    del request
    return FileResponse(ASSETS / "player.js", headers=_HEADERS, media_type="text/javascript")
