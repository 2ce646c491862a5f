"""Measures speed and memory of each part on this machine: a table, or with --json a line each.

python -m jukejax.bench data
python -m jukejax.bench data --json --input=data/audio --config=configs/from_scratch.py:vqvae
"""

import functools
import importlib
import json
import os
import sys
from collections.abc import Sequence

from absl import flags

from jukejax import cli
from jukejax.benches import common

BENCHES = {
    "attention": "sparse against dense attention, by length, kind and backend",
    "train": "one training step here; with --aot compiled for other devices",
    "decode": "the token loop: codes a second, share of the bandwidth, and seams",
    "vqvae": "encode, decode and train a VQ-VAE",
    "data": "prepare, separate, encode and load; and the time that training waits for data",
}


def main(name: str | None, values: flags.FlagValues) -> None:
    """Runs the bench of this name and prints each row as soon as it is measured."""
    if name not in BENCHES:
        fault = "bench needs a name" if name is None else f"no bench {name!r}"
        raise ValueError(f"{fault}; there are {', '.join(BENCHES)}")
    rows = importlib.import_module(f"jukejax.benches.{name}").measure_rows(values)
    for line in map(json.dumps, rows) if values["json"].value else common.format_table(rows):
        print(line, flush=True)


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command: its first word names the bench, which defines the other flags."""
    program, *arguments = sys.argv if argv is None else argv
    values = flags.FlagValues()
    flags.DEFINE_bool(
        "json", False, "One JSON object a line instead of a table.", flag_values=values
    )
    os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # compile times are measured
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    summaries = "".join(f"    {bench:<12}{summary}\n" for bench, summary in BENCHES.items())
    doc = f"{__doc__}\nBenches:\n\n{summaries}"
    if name in BENCHES:
        module = importlib.import_module(f"jukejax.benches.{name}")
        module.define_flags(values)
        doc = module.__doc__ or ""
    elif not {"--help", "-h", "--helpshort"} & set(arguments):
        arguments = []  # the error is the missing name, not the flags
    cli.run(functools.partial(main, name, values), doc, values, [program, *arguments])


if __name__ == "__main__":
    start()
