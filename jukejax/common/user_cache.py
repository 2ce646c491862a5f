"""The folder for caches of jukejax outside of a checkout."""

import os
from pathlib import Path


def find_user_cache() -> Path:
    """Returns `jukejax` in the user's cache folder: $XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "jukejax"
