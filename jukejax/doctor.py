"""Prints the devices, memory, compute type and extras of this machine, and the models that fit.

    python -m jukejax.doctor
    python -m jukejax.doctor --json

A released model fits if the largest of its parts, which are loaded one at a time, its caches for
one track included, is smaller than the memory of one device. Training needs several times as
much: `train --dry_run` prints it for a config.
"""

import json
from collections.abc import Sequence

from absl import flags

from jukejax import cli

FLAGS = flags.FlagValues()

JSON = flags.DEFINE_bool("json", False, "One JSON object instead of lines.", flag_values=FLAGS)


def main() -> None:
    """Prints the facts of this machine."""
    from jukejax.benches import machine

    facts = machine.describe_machine()
    print(json.dumps(facts) if JSON.value else "\n".join(machine.format_machine(facts)))


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
