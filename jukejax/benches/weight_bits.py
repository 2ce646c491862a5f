"""What weights in eight bits cost: bits per code of a bundle's priors on held-out windows."""

from collections.abc import Iterator

import numpy as np
from absl import flags

from jukejax.benches import common
from jukejax.evaluation.heldout_bits import measure_heldout_bits
from jukejax.inference.loaded_model import Model
from jukejax.runtime.precision import default_dtype

WINDOWS = 32  # of each level; all, if there are fewer


def rows(values: flags.FlagValues) -> Iterator[dict]:
    """A row for each level: bits with floating-point weights, in eight bits, and the difference.

    Args:
      values: model, codes (a folder of code shards), dtype.
    """
    dtype = values.dtype or default_dtype()
    wide, small = (Model(values.model, dtype, weights) for weights in ("float", "int8"))
    for level in wide.levels:
        found: list[float] = []

        def measure(level=level, found=found) -> None:
            for model in (wide, small):
                by_track = measure_heldout_bits(model, values.codes, level, max_windows=WINDOWS)
                found.append(float(np.mean(list(by_track.values()))))

        seconds = common.timed(measure)
        yield common.row(
            "decode",
            f"level {level} weights in eight bits",
            config=values.model,
            batch=1,
            device=common.device(),
            dtype=dtype,
            seconds=seconds,
            level=level,
            bits_per_code=found[0],
            bits_per_code_int8=found[1],
            cost_in_bits=found[1] - found[0],
        )
