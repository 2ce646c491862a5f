"""The application of the server: Gradio's page, our addresses, and the guard around both."""

import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp

from jukejax.studio.page import Page
from jukejax.studio.place import Place
from jukejax.studio.studio import Studio
from jukejax.studio.web import ASSETS, LOOPBACK, Guard, make_routes

_HEAD = '<script src="/studio/player.js" defer></script>'


def make_application(studio: Studio, place: Place, *, upload_limit: str) -> ASGIApp:
    """Returns the application of a studio.

    Fonts are those of the system: the page loads nothing from other servers.

    Args:
      upload_limit: largest file, such as "200mb".
    """
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    application.routes.extend(make_routes(studio))
    fonts = ["system-ui", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif"]
    theme = gr.themes.Default(
        primary_hue="orange", font=fonts, font_mono=["ui-monospace", "monospace"]
    )
    page = Page(studio).blocks
    page.queue(default_concurrency_limit=4, max_size=64)
    application = gr.mount_gradio_app(
        application,
        page,
        path="/",
        theme=theme,
        css=(ASSETS / "style.css").read_text(encoding="utf-8"),
        head=_HEAD,
        max_file_size=upload_limit,
        show_error=False,
        footer_links=[],
        allowed_paths=[],
        ssr_mode=False,
        run_history=False,
    )
    hosts = LOOPBACK if place.is_loopback else ()
    return Guard(application, hosts=hosts, login=place.login)
