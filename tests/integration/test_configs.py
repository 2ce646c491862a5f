"""Every variant of every config of ours loads, freezes, and gives a model that can be shaped."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from absl import flags
from ml_collections import config_flags

from jukejax.common.config import freeze
from jukejax.data.vocabularies import Vocabulary
from jukejax.models.prior import Prior
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.runtime import sharding
from jukejax.training import program
from jukejax.training.optim import OptimizerConfig
from jukejax.training.tasks.prior_sizes import complete_prior_config
from jukejax.training.tasks.vqvae_loss import LossConfig, check_window

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STAGES = ("vqvae", "prior", "upsampler1", "upsampler0")
OURS = [  # what is trained on records, and what a head comment must be right about
    ("house_vqvae", "", "1,485,763"),
    ("house_prior", "", "161,862,656"),
    ("house_prior_1b", "", "928,481,280"),
    ("house_upsampler", "level_1", "202,270,720"),
    ("house_upsampler", "level_0", "202,270,720"),
    ("pod_prior_5b", "", "5,040,153,600"),
]
HOPS = {"house_lyrics": (512,)}  # of the others (8, 32, 128)
VARIANTS = [
    *((name, variant) for name, variant, _ in OURS),
    ("house_prior", "labelled"),
    ("house_prior_1b", "24gb"),
    ("pod_prior_5b", "8gpus"),
    *(("from_scratch", f"{stage}{size}") for stage in STAGES for size in ("", "-gpu")),
    ("from_scratch", "gpu"),
    *(("tiny", stage) for stage in STAGES),
    *(("grid", variant) for variant in ("with-bar", "without-bar")),
    *(("house_small", stage) for stage in (*STAGES, "tune")),
    *(("house_lyrics", stage) for stage in ("vqvae", "prior")),
]


def load(name, variant):
    module = load_file(name)
    return module.get_config(variant) if variant else module.get_config()


def load_file(name):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_config_gives_a_model(name, variant):
    config, hops = load(name, variant), HOPS.get(name, (8, 32, 128))
    optimizer = freeze(OptimizerConfig, config.optimizer)
    assert optimizer.decay_start + optimizer.decay_steps == config.steps
    key = jax.random.key(0)
    if config.task == "vqvae":
        frozen = freeze(VQVAEConfig, config.model)
        assert frozen.hops == hops
        check_window(frozen, freeze(LossConfig, config.loss), config.data.window)
        audio = jax.ShapeDtypeStruct((1, config.data.window, 1), jnp.float32)
        out = jax.eval_shape(VQVAE(frozen).init_with_output, key, audio)[0]
        assert [level.shape for level in out.audio] == [audio.shape] * len(hops)
        return
    dataset = SimpleNamespace(
        folder="codes",
        info={"hops": list(hops), "codebook_size": 64, "sample_rate": 44100},
        vocabulary=Vocabulary(("unknown", "a"), ("unknown", "b", "c")),
    )
    frozen = complete_prior_config(config, dataset)
    codes = jax.ShapeDtypeStruct((1, frozen.seq_len), jnp.int32)
    told = {}
    if frozen.upper is not None:
        shape = (1, *frozen.upper.find_shape(frozen.seq_len))
        told["upper_codes"] = jax.ShapeDtypeStruct(shape, jnp.int32)
    if frozen.labels is not None:
        told["labels"] = jax.ShapeDtypeStruct((1, frozen.label_width), jnp.int32)
    logits, _ = jax.eval_shape(Prior(frozen).init_with_output, key, codes, **told)
    assert logits.shape == (1, frozen.seq_len, 64 + frozen.code_shift)


def test_unknown_variants_name_the_known_ones():
    for name in ("from_scratch", "tiny", "house_small"):
        with pytest.raises(ValueError, match="vqvae, prior, upsampler1, upsampler0"):
            load(name, "no-such")
    for name in ("house_vqvae", "house_prior", "house_prior_1b", "pod_prior_5b"):
        with pytest.raises(ValueError, match="has no variant 'no-such'"):
            load(name, "no-such")
    with pytest.raises(ValueError, match="take level_1 or level_0"):
        load("house_upsampler", "no-such")


@pytest.mark.parametrize(("name", "variant", "parameters"), OURS)
def test_head_comments_tell_the_command_and_the_true_number_of_parameters(
    name, variant, parameters
):
    told = load_file(name).__doc__
    assert f"--config=configs/{name}.py" in told
    facts = [line.split()[0] for line in told.splitlines() if line[:1].islower()]
    assert {"hardware", "batch", "parameters", "memory", "time"} <= set(facts)
    task = program.make_task(load(name, variant), with_data=False)
    params, _ = jax.eval_shape(task.init_params, jax.random.key(0))
    found = sum(leaf.size for leaf in jax.tree.leaves(sharding.unbox(params)))
    assert f"{found:,}" == parameters
    assert parameters in told


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections
@pytest.mark.parametrize(("name", "variant", "parameters"), OURS)
def test_flags_reach_every_part_of_a_recipe(monkeypatch, name, variant, parameters):
    del parameters
    changes = (
        "init_from=models/old",
        "dtype=bfloat16",
        "accumulate=2",
        "keep_best=3",
        "mesh.fsdp=8",
        "mesh.slices=2",
        "data.batch_size=64",
        "schedule.anneal_on_stall=7",
        "schedule.stop_on_stall=9",
    )
    colon = f":{variant}" if variant else ""
    argv = ["train", f"--config={CONFIGS}/{name}.py{colon}", *(f"--config.{c}" for c in changes)]
    monkeypatch.setattr(sys, "argv", argv)  # where ml_collections looks for the keys
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    values(argv)
    recipe = program.make_recipe(values.config)
    assert (recipe.accumulate, recipe.batch_size, recipe.loss_scale) == (2, 64, None)
    assert (recipe.schedule.anneal_on_stall, recipe.schedule.stop_on_stall) == (7, 9)
    mesh = program.mesh_config(values.config)
    assert (mesh.data, mesh.fsdp, mesh.slices) == (-1, 8, 2)
    assert values.config.init_from == "models/old"


def test_priors_follow_the_recipe_of_the_published_house_run():
    for name, variant, _ in OURS[1:]:
        config = load(name, variant)
        recipe = program.make_recipe(config)
        assert recipe.schedule.anneal_at_bits == 2.0
        assert recipe.optimizer.learning_rate == 3e-4
        assert (recipe.loss_scale is not None) == (config.dtype == "float16")
        assert config.model.transformer.remat in ("block", "full")
    published = load("house_prior", "")
    codes = 50 * 3600 * 44100 / 128
    epochs = 90_000 * published.data.batch_size * published.model.transformer.seq_len / codes
    assert round(epochs) == 48


def test_the_5b_with_openais_labels_has_their_parameters():
    config = load("pod_prior_5b", "")
    config.model.labels.update(num_artists=4111, num_genres=120)
    task = program.make_task(config, with_data=False)
    params, _ = jax.eval_shape(task.init_params, jax.random.key(0))
    found = sum(leaf.size for leaf in jax.tree.leaves(sharding.unbox(params)))
    assert found == 5_060_452_800
