"""A studio in a temporary folder, whose jobs are a small script."""

import pytest

from jukejax.studio.studio import Studio
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
