"""Loading of config files, which are Python programs: their errors have a file and a line.

The configs of this repository, `configs/*.py`, are also taken by their names, in any folder: they
are installed as `jukejax/configs`.
"""

import importlib.machinery
import importlib.util
import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jukejax.common import files


class ConfigFileParser:
    """Loads the config of `FILE.py` or `FILE.py:VARIANT`; see `find_file`.

    Attributes:
      file_values: the last config as plain dictionaries, before flags changed it.
    """

    def __init__(self, groups: Sequence[str] = ()):
        """Stores the names of dictionaries to add to a config that lacks them."""
        self._groups = groups
        self.file_values: dict[str, Any] = {}

    def __call__(self, path: str) -> ConfigDict:
        """Runs a config file.

        Raises:
          ValueError: there is no such file, it raises, or it returns no config.
        """
        config = run_file(path)
        self.file_values = config.to_dict()
        for group in self._groups:
            if group not in config:
                config[group] = ConfigDict()
        return config


def run_file(path: str) -> ConfigDict:
    """Returns the result of `get_config` of `FILE.py`, or of `get_config(VARIANT)`.

    Args:
      path: a file or a name (see `find_file`), and perhaps a colon and a variant.

    Raises:
      ValueError: there is no such file, it raises, or it returns no config.
    """
    drive, rest = os.path.splitdrive(path)  # on Windows a drive has a colon too
    name, colon, variant = rest.partition(":")
    file, line = find_file(drive + name), 0
    try:
        get_config = load_function(file)
        line = get_config.__code__.co_firstlineno
        config = get_config(variant) if colon else get_config()
    except (Exception, SystemExit) as error:
        raise ValueError(describe_error(file, error, line)) from None
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"{file}, line {line}: get_config returns {type(config).__name__}, but must return a "
            "ml_collections.ConfigDict"
        )
    return config


def find_file(name: str) -> str:
    """Returns the path of a config file.

    Args:
      name: a file, or the name of one of configs/: `house_prior`, `configs/house_prior.py`.

    Raises:
      ValueError: there is no such file.
    """
    if Path(name).is_file():
        return name
    folder = files.find_configs_folder()
    own = folder / f"{Path(name).stem}.py"
    if own.is_file() and name in (own.stem, own.name, f"configs/{own.name}"):
        return str(own)
    names = ", ".join(sorted(path.stem for path in folder.glob("*.py")))
    raise ValueError(f"there is no config file {name}; give one of {names}, or a file of your own")


def load_function(file: str) -> Any:
    """Runs a file, and returns its function `get_config`.

    Raises:
      LookupError: there is no such function.
      Exception: whatever the file raises.
    """
    loader = importlib.machinery.SourceFileLoader("config_file", file)
    spec = importlib.util.spec_from_loader("config_file", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    function: Any = getattr(module, "get_config", None)
    if not hasattr(function, "__code__"):
        raise LookupError("it has no function get_config, which returns the config")
    return function


def describe_error(file: str, error: BaseException, line: int) -> str:
    """Describes an error of a config file: `FILE, line 12: NameError: name 'x' is not defined`.

    Args:
      line: the line to name if no line of the file is in the traceback; 0 for the last line.
    """
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if os.path.abspath(frame.filename) == os.path.abspath(file)
    ]
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        lines, reason = [error.lineno], f"{type(error).__name__}: {error.msg}"
    elif type(error) in (ValueError, LookupError):  # messages for people
        reason = str(error)
    if not lines:
        lines = [line or len(Path(file).read_bytes().splitlines())]
    return f"{file}, line {lines[-1]}: {' '.join(reason.split())}"
