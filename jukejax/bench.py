"""How fast each part of the house is on this machine: a table, or with --json a line each.

python -m jukejax.bench data
python -m jukejax.bench data --json --input=data/audio --config=configs/demo.py:vqvae
"""

import functools
import importlib
import json
import sys

from absl import flags

from jukejax import cli
from jukejax.benches import common

BENCHES = {
    "attention": "sparse against dense attention, by length, kind and backend",
    "train": "one real training step here; with --aot compiled for devices elsewhere",
    "decode": "the token loop: codes a second, share of the bandwidth, and seams",
    "vqvae": "encode, decode and train a VQ-VAE",
    "data": "prepare, separate, encode and load; and how long a training step waits for data",
}
JSON = flags.DEFINE_bool("json", False, "One JSON object a line instead of a table.")


def main(name: str | None) -> None:
    """Runs the bench of this name, and prints each row as soon as it is measured."""
    if name not in BENCHES:
        said = "bench needs a name" if name is None else f"no bench {name!r}"
        raise ValueError(f"{said}; there are {', '.join(BENCHES)}")
    found = importlib.import_module(f"jukejax.benches.{name}").rows(flags.FLAGS)
    for line in map(json.dumps, found) if JSON.value else common.table(found):
        print(line, flush=True)


def start() -> None:
    """Takes the bench's name off the command line and lets that bench define its flags."""
    program, *rest = sys.argv
    name = rest.pop(0) if rest and not rest[0].startswith("-") else None
    doc = __doc__ + "\nBenches:\n\n" + "".join(f"    {n:<12}{t}\n" for n, t in BENCHES.items())
    if name in BENCHES:
        module = importlib.import_module(f"jukejax.benches.{name}")
        module.define_flags()
        doc = module.__doc__
    elif not {"--help", "-h", "--helpshort"} & set(rest):
        rest = []  # flags belong to a bench: without one its name is what is wrong
    cli.run(functools.partial(main, name), doc, [program, *rest])


if __name__ == "__main__":
    start()
