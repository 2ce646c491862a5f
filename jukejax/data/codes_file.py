"""Reading the codes.npz of a sampled track, which users may edit or copy incompletely."""

import re
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.common.arrays import read_arrays

_MAX_CODE = np.iinfo(np.uint16).max
_LEVEL_NAME = re.compile(r"level_(0|[1-9]\d?)")


def read_codes_file(path: str | Path) -> dict[int, np.ndarray]:
    """Reads a codes.npz as {level: int32 [t]}.

    Raises:
      ValueError: the file is missing or no codes.npz; or a level or code is impossible.
    """
    files.check_regular(path)
    try:
        if not Path(path).is_file():
            raise ValueError("there is no such file")
        levels = read_arrays(path)
        for name, codes in levels.items():
            _check_codes(name, codes)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as the codes.npz of a sample: {error}") from error
    return {
        int(name.removeprefix("level_")): codes.astype(np.int32) for name, codes in levels.items()
    }


def _check_codes(name: str, codes: np.ndarray) -> None:
    """Checks an array of a codes.npz; codes are stored in 16 bits."""
    if not _LEVEL_NAME.fullmatch(name):
        raise ValueError(f"it holds {name}, and the levels are level_0, level_1 and so on")
    if codes.ndim != 1 or codes.dtype.kind not in "iu":
        raise ValueError(f"{name} is {codes.dtype} {list(codes.shape)}, not a list of integers")
    for code in (codes.min(initial=0), codes.max(initial=0)):
        if not 0 <= code <= _MAX_CODE:
            raise ValueError(f"{name} holds {code}, and codes are 0 to {_MAX_CODE}")
