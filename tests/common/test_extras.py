"""Hints on how to install an extra."""

import re
import sys
import tomllib

from jukejax.common import extras, files


def test_the_hint_names_this_environment_and_the_checkout():
    hint = extras.format_install("visqol")
    assert hint == f"{sys.executable} -m pip install -e '{files.REPOSITORY}[visqol]'"


def test_an_installed_package_without_a_checkout_says_where_to_run_the_command(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(files, "REPOSITORY", tmp_path)
    hint = extras.format_install("visqol")
    assert hint == f"{sys.executable} -m pip install '.[visqol]' in a checkout of jukejax"


def test_every_hint_names_an_extra_of_the_project():
    project = tomllib.loads((files.REPOSITORY / "pyproject.toml").read_text())["project"]
    sources = [path.read_text() for path in (files.REPOSITORY / "jukejax").rglob("*.py")]
    names = set(re.findall(r"""format_install\(["']([a-z0-9]+)""", "".join(sources)))
    assert names == {"beam", "convert", "lyrics", "tfds", "ui", "visqol", "wandb"}
    assert names <= project["optional-dependencies"].keys()
