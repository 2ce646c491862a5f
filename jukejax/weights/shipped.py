"""The model that is shipped with the package, which commands take by its name (docs/house.md)."""

import os
from pathlib import Path

from absl import flags

from jukejax.common import mirrors, storage

HOUSE = "house"
FOLDER = Path(__file__).resolve().parents[1] / "assets" / HOUSE


def resolve_model(path: str) -> str:
    """Returns the folder of a model: that of the shipped one for its name `HOUSE`.

    A model in a bucket is copied for the time of the process.

    Raises:
      ValueError: this installation lacks the shipped model.
      OSError: the bucket cannot be read.
    """
    if path != HOUSE:
        return os.fspath(mirrors.open_input(path)) if storage.is_remote(path) else path
    if not (FOLDER / "model.json").exists():
        raise ValueError(
            f"no bundle is shipped as {HOUSE!r} with this version ({FOLDER}); name one (export and "
            f"launch/train_house_small.sh make some); a folder of that name is ./{HOUSE}"
        )
    return str(FOLDER)


class _ModelParser(flags.ArgumentParser):
    """Parses the folder of a model, or the name of the shipped one."""

    syntactic_help = f"a folder, or {HOUSE} for the shipped model"

    def parse(self, argument: str) -> str:
        return resolve_model(argument)


def define_model_flag(
    name: str, help_text: str, values: flags.FlagValues
) -> flags.FlagHolder[str | None]:
    """Defines a flag for a model, without a default."""
    return flags.DEFINE(_ModelParser(), name, None, help_text, flag_values=values)
