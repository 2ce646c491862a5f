"""Compares the optimizers by held-out bits of a small prior after equal time.

    .venv/bin/python launch/compare_optimizers.py CODES --seconds=60

CODES are shards of `encode --vqvae=house`. Time is that of the process on its processors, without
compilation, so that other work on the machine matters less. The rate is constant after its
warm-up, and the averaged weights are evaluated. The table is printed in Markdown.
"""

import argparse
import itertools
import time
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jukejax.benches.shapes import load_config
from jukejax.common.formatting import format_bytes
from jukejax.runtime import sharding
from jukejax.training import program
from jukejax.training.program import Program

CHOICES = {
    "Adam": {},
    "Adam, moments in bfloat16": {"moment_dtype": "bfloat16"},
    "Adafactor": {"kind": "adafactor"},
    "Muon": {"kind": "muon"},
}


class Result(NamedTuple):
    """The figures of one run: of its memory the bytes of the optimizer's state."""

    steps: int
    bits: float
    optimizer_bytes: int


def make_config(codes: str, rate: float, choice: dict[str, str]) -> ConfigDict:
    """Returns a small prior: 4 layers of 128 features, windows of 1020 codes."""
    config = load_config("configs/house_small.py:prior")
    config.data.update(folder=codes, batch_size=4)
    config.model.context_dropout = 0.0
    rows = config.model.transformer.seq_len // config.model.transformer.num_blocks
    num_blocks = 1024 // rows
    config.model.transformer.update(
        emb_dim=128, num_layers=4, seq_len=num_blocks * rows, num_blocks=num_blocks
    )
    config.optimizer = dict(
        learning_rate=rate, warmup_steps=20, weight_decay=0.01, ema_decay=0.95, **choice
    )
    return config


def train_for(config: ConfigDict, seconds: float) -> Result:
    """Trains for so many seconds of the process, and evaluates the averaged weights."""
    task = program.make_task(config)
    mesh = sharding.make_mesh(program.mesh_config(config))
    built = program.build_program(task, program.make_recipe(config), mesh)
    rows, key = sharding.batch_rows(mesh, config.data.batch_size), jax.random.key(config.seed)
    with jax.set_mesh(mesh):
        state, used, steps = built.init(key), 0.0, 0
        batches = task.open_batches("train", rows)
        for batch in batches:
            placed, started_at = sharding.put_batch(mesh, batch), time.process_time()
            state, _ = jax.block_until_ready(built.update(state, placed, key))
            used += time.process_time() - started_at if steps else 0.0  # the first one compiles
            steps += 1
            if used >= seconds:
                break
        batches.close()
        bits = _measure_bits(built, state.ema_params, state.extra, rows)
    return Result(steps, bits, sharding.bytes_by_device(state.opt_state))


def _measure_bits(built: Program, params: dict, extra: dict, rows: np.ndarray) -> float:
    """Returns the held-out bits of a code over 16 batches."""
    batches = built.task.open_batches("heldout", rows)
    bits = [
        np.mean(
            built.evaluate(params, extra, sharding.put_batch(built.mesh, batch))["example_bits"]
        )
        for batch in itertools.islice(batches, 16)
    ]
    batches.close()
    return float(np.mean(bits))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codes")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2])
    arguments = parser.parse_args()
    print("| optimizer | rate | steps | held-out bits a code | state of the optimizer |")
    print("|---|---|---|---|---|")
    for name, choice in CHOICES.items():
        for rate in arguments.rates:
            result = train_for(make_config(arguments.codes, rate, choice), arguments.seconds)
            size = format_bytes(result.optimizer_bytes)
            row = (name, f"{rate:g}", result.steps, f"{result.bits:.3f}", size)
            print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main()
