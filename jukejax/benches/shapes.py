"""Random inputs, and the model shapes of the reference bench (Hugging Face's port of Jukebox).

In the port's bench the output of the conditioner and the label embedding are arrays of zeros;
`TransformerTask` has them in its batch.
"""

import re
import runpy
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.models.autoregressive import Autoregressive, AutoregressiveConfig, Conditions
from jukejax.models.prior_config import PriorConfig
from jukejax.models.prior_losses import compute_bits_per_code
from jukejax.models.transformer_config import TransformerConfig
from jukejax.runtime import precision, sharding
from jukejax.training import flops
from jukejax.training.task import Batch, Metrics, Task
from jukejax.training.tasks.vqvae import VQVAETask

CODES = 2048
# Width x depth, window, heads, rows; pattern 2 (row, column, previous row).
TRANSFORMERS = {
    name: dict(
        emb_dim=width, num_layers=depth, seq_len=seq_len, num_heads=heads, num_blocks=rows,
        attn_order=2, init_scale=0.7,
    )
    for name, (width, depth, seq_len, heads, rows) in {
        "tiny": (256, 6, 1024, 4, 16),
        "small": (512, 12, 8192, 1, 64),
        "train_small": (1024, 6, 2048, 1, 16),
        "small_prior": (1024, 48, 8192, 1, 64),
        "upsampler": (1920, 72, 8192, 1, 128),
    }.items()
}  # fmt: skip


def transformer_config(name: str) -> ConfigDict:
    """Returns a config for one of TRANSFORMERS as in the reference bench, with batch size 1."""
    config = ConfigDict()
    config.task = "prior"
    config.dtype = "float32"
    config.data = dict(batch_size=1)
    config.mesh = dict(data=-1, fsdp=1, tensor=1)
    config.optimizer = dict(learning_rate=3e-4, warmup_steps=0, weight_decay=0.01, clip=1.0)
    config.model = dict(transformer=TRANSFORMERS[name])
    return config


class TransformerTask(Task):
    """Trains a transformer over 2048 codes, with conditions from the batch, in bits per code."""

    name = "prior"

    def __init__(self, config: ConfigDict) -> None:
        self.stack = freeze(TransformerConfig, config.model.transformer, "config.model.transformer")
        self.model = Autoregressive(
            AutoregressiveConfig(CODES, self.stack, labeled=True),
            precision.compute_dtype(config.dtype),
        )
        self.example_codes = self.stack.seq_len
        self.work = flops.count_prior(PriorConfig(2, CODES, 128, self.stack))

    def _bits(self, params: Tree, batch: Batch) -> jax.Array:
        conditions = Conditions(batch["code_cond"], batch["label_emb"])
        logits: Any = self.model.apply({"params": params}, batch["codes"], conditions)
        return compute_bits_per_code(logits, batch["codes"])

    def init_params(self, key: jax.Array) -> tuple[Tree, Tree]:
        conditions = Conditions(None, jnp.zeros((1, self.stack.emb_dim)))
        codes = jnp.zeros((1, self.stack.seq_len), jnp.int32)
        return self.model.init(key, codes, conditions)["params"], {}

    def loss(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        del key
        return self._bits(params, batch), (extra, {})

    def evaluate(self, params: Tree, extra: Tree, batch: Batch) -> Metrics:
        del extra
        return {"bits_per_code": self._bits(params, batch)}

    def open_batches(
        self, split: str, rows: np.ndarray | None = None, limit: int | None = None
    ) -> grain.DatasetIterator:
        raise ValueError("the shapes of a bench have no data")

    def batch_shapes(self, examples: int) -> dict[str, jax.ShapeDtypeStruct]:
        length, emb_dim = self.stack.seq_len, self.stack.emb_dim
        return {
            "codes": jax.ShapeDtypeStruct((examples, length), jnp.int32),
            "code_cond": jax.ShapeDtypeStruct((examples, length, emb_dim), jnp.float32),
            "label_emb": jax.ShapeDtypeStruct((examples, emb_dim), jnp.float32),
            "track": jax.ShapeDtypeStruct((examples,), jnp.int32),
        }


class SquaredErrorTask(VQVAETask):
    """Trains a VQ-VAE with the loss of the reference bench: squared errors and commitment."""

    def loss(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        output, updated = self.apply_training(params, extra, batch, key)
        assert output.quantized is not None, "the reference's model has a bottleneck"
        errors = [jnp.mean(jnp.square(audio - batch["audio"])) for audio in output.audio]
        commitments = [quantized.commitment_loss for quantized in output.quantized]
        total = sum(errors, start=jnp.zeros(())) + sum(commitments, start=jnp.zeros(()))
        return total, (updated, {})


def random_batch(task: Task, examples: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns a batch of a task: random codes, audio as noise of -10 dB, conditions of zeros."""
    random = np.random.default_rng(seed)

    def fill(name: str, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if name in ("codes", "upper_codes"):
            return random.integers(0, CODES, leaf.shape, leaf.dtype)
        if name == "audio":
            noise = 0.3 * random.standard_normal(leaf.shape, np.float32)
            return np.clip(noise, -1.0, 1.0)
        return np.zeros(leaf.shape, leaf.dtype)

    return {name: fill(name, leaf) for name, leaf in task.batch_shapes(examples).items()}


def parse_mesh(text: str) -> dict[str, int]:
    """Parses `data:4,fsdp:64` as a mesh config; omitted axes have size 1."""
    sizes = dict.fromkeys(sharding.AXES, 1)
    for part in text.split(","):
        axis, _, size = part.partition(":")
        if axis not in sizes or not re.fullmatch(r"-1|[1-9]\d*", size):
            raise ValueError(
                f"--mesh={text!r} is not of the form data:4,fsdp:64; axes: {', '.join(sizes)}"
            )
        sizes[axis] = int(size)
    return sizes


def load_config(name: str) -> ConfigDict:
    """Reads the config of `PATH.py` or `PATH.py:VARIANT`."""
    path, _, variant = name.partition(":")
    if not path.endswith(".py") or not Path(path).is_file():
        raise ValueError(
            f"--config={name!r} is neither a file nor one of {', '.join(TRANSFORMERS)}"
        )
    namespace = runpy.run_path(path)
    return namespace["get_config"](*([variant] if variant else []))
