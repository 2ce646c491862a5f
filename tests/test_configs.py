"""Every variant of every config of ours loads, freezes, and gives a model that can be shaped."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from jukejax.config import freeze
from jukejax.data.labels import Vocabulary
from jukejax.models.prior import Prior
from jukejax.models.vqvae import VQVAE, VQVAEConfig
from jukejax.optim import OptimizerConfig
from jukejax.tasks.prior import prior_config
from jukejax.tasks.vqvae import LossConfig, check_window

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STAGES = ("vqvae", "prior", "upsampler1", "upsampler0")
VARIANTS = [
    *(("demo", f"{stage}{size}") for stage in STAGES for size in ("", "-gpu")),
    ("demo", "gpu"),
    *(("tiny", stage) for stage in STAGES),
]


def load(name, variant):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_config_gives_a_model(name, variant):
    config = load(name, variant)
    optimizer = freeze(OptimizerConfig, config.optimizer)
    assert optimizer.decay_start + optimizer.decay_steps == config.steps
    key = jax.random.key(0)
    if config.task == "vqvae":
        frozen = freeze(VQVAEConfig, config.model)
        assert frozen.hops == (8, 32, 128)
        check_window(frozen, freeze(LossConfig, config.loss), config.data.window)
        audio = jax.ShapeDtypeStruct((1, config.data.window, 1), jnp.float32)
        out = jax.eval_shape(VQVAE(frozen).init_with_output, key, audio)[0]
        assert [level.shape for level in out.audio] == [audio.shape] * 3
        return
    dataset = SimpleNamespace(
        folder="codes",
        info={"hops": [8, 32, 128], "codebook_size": 64, "sample_rate": 44100},
        vocabulary=Vocabulary(("unknown", "a"), ("unknown", "b", "c")),
    )
    frozen = prior_config(config, dataset)
    codes = jax.ShapeDtypeStruct((1, frozen.seq_len), jnp.int32)
    told = {}
    if frozen.upper is not None:
        shape = (1, frozen.seq_len // frozen.upper.ratio)
        told["upper_codes"] = jax.ShapeDtypeStruct(shape, jnp.int32)
    if frozen.labels is not None:
        told["labels"] = jax.ShapeDtypeStruct((1, 5), jnp.int32)
    logits, _ = jax.eval_shape(Prior(frozen).init_with_output, key, codes, **told)
    assert logits.shape == (1, frozen.seq_len, 64)


def test_unknown_variants_name_the_known_ones():
    for name in ("demo", "tiny"):
        with pytest.raises(ValueError, match="vqvae, prior, upsampler1, upsampler0"):
            load(name, "no-such")
