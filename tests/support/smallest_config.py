"""configs/tiny.py with smaller models, whose training is compiled in a third of the time.

A config file as `train` takes it: --config=tests/support/smallest_config.py:VARIANT.
"""

import importlib.util
from pathlib import Path

from ml_collections import ConfigDict

TINY = Path(__file__).resolve().parents[2] / "configs" / "tiny.py"


def get_config(arg: str = "vqvae") -> ConfigDict:
    spec = importlib.util.spec_from_file_location("tiny_config", TINY)
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    config = tiny.get_config(arg)
    config.eval_batches = 1
    config.checkpoint_every = 4
    if arg == "vqvae":
        config.steps = 6
        config.data.window = 1152
        config.model.update(width=4, emb_dim=4)
        config.model.update(downs=(1, 1, 1), strides=(8, 4, 4), multipliers=(1, 1, 1))
        shape = dict(n_fft=(256,), hop=(64,), window=(128,))
        config.loss.update({f"multispectral_{key}": value for key, value in shape.items()})
        return config
    config.model.transformer.update(emb_dim=16, num_layers=1, seq_len=64, attn_order=0)
    if "upper" in config.model:
        config.model.upper.update(downs=1, stride=4, width=4, depth=1)
    return config
