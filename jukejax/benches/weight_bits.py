"""What weights in eight bits cost: bits per code of a bundle's priors on held-out windows."""

import contextlib
import itertools
from collections.abc import Iterator

import numpy as np
from absl import flags

from jukejax.benches import common
from jukejax.data import pipeline
from jukejax.model import Model, default_dtype
from jukejax.tasks import score

WINDOWS = 32  # of each level; all, if there are fewer


def rows(values: flags.FlagValues) -> Iterator[dict]:
    """A row for each level: bits with floating-point weights, in eight bits, and the difference.

    Args:
      values: model, codes (a folder of code shards), dtype.
    """
    dtype = values.dtype or default_dtype()
    wide, small = (Model(values.model, dtype, weights) for weights in ("float", "int8"))
    for level in wide.levels:
        seconds, found = 0.0, []
        for model in (wide, small):
            config, weights = model.prior(level)
            names = model.vocabulary(level) if config.labels else None
            bits = []

            def measure(config=config, weights=weights, names=names, bits=bits) -> None:
                for batch in _held_out(values.codes, config, names):
                    told = batch.get("upper_codes"), batch["labels"] if config.labels else None
                    bits.append(
                        np.asarray(score.window_bits(config, weights, batch["codes"], *told))
                    )

            seconds += common.timed(measure)
            found.append(float(np.mean(bits)))
        yield common.row(
            "decode",
            f"level {level} weights in eight bits",
            config=values.model,
            batch=1,
            device=common.device(),
            dtype=dtype,
            seconds=seconds,
            level=level,
            windows=len(bits),
            bits_per_code=found[0],
            bits_per_code_int8=found[1],
            cost_in_bits=found[1] - found[0],
        )


def _held_out(folder: str, config, names) -> Iterator[dict]:
    with contextlib.closing(
        pipeline.code_windows(
            folder,
            "heldout",
            level=config.level,
            seq_len=config.seq_len,
            batch_size=1,
            max_genres=config.labels.max_genres if config.labels else 1,
            names=names,
            shuffle=False,
            aug_shift=False,
            repeat=False,
        )
    ) as windows:
        yield from itertools.islice(windows, WINDOWS)
