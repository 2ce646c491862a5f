"""A studio in a temporary folder, whose jobs are a small script; a server and a browser."""

import pytest

from jukejax.studio.studio import Studio
from tests.support.browser import Server, open_browser, skip_without_browser
from tests.support.studio import use_script


@pytest.fixture
def studio(tmp_path, monkeypatch):
    use_script(monkeypatch, tmp_path)
    return Studio(tmp_path / "projects")


@pytest.fixture
def project(studio):
    return studio.open_project("first-project")


@pytest.fixture
def model(studio, project):
    return studio.find_model(project, "house")


@pytest.fixture
def unchanged(studio, tmp_path):
    """Checks that a test leaves every file as it was."""

    def read_files():
        return {
            path: path.read_bytes()
            for path in sorted(tmp_path.rglob("*"))
            if path.is_file() and "sent" not in path.parts
        }

    before = read_files()
    yield
    assert read_files() == before


@pytest.fixture(scope="module")
def browser():
    skip_without_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = open_browser(playwright)
        yield browser
        browser.close()


@pytest.fixture
def start_server():
    """Returns a function that starts a server; servers that still run are ended with the test."""
    servers = []

    def start(*arguments) -> Server:
        servers.append(Server(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        if server.is_running():
            server.end()
