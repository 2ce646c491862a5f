"""Hints on how to install an optional dependency."""

import sys

from jukejax.common import files


def format_install(extra: str) -> str:
    """Formats the command that adds an extra of pyproject.toml to this environment.

    It names the checkout, as jukejax is in no package index; where jukejax was installed without
    one, the command is to be run in a checkout.
    """
    pip = f"{sys.executable} -m pip install"
    if (files.REPOSITORY / "pyproject.toml").is_file():
        return f"{pip} -e '{files.REPOSITORY}[{extra}]'"
    return f"{pip} '.[{extra}]' in a checkout of jukejax"
