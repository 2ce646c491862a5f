"""configs/openai_*.py against what OpenAI's own code builds.

`released_models.json` (parameters by part) and `released_state_dict_keys.json.gz` (every tensor's
name, shape and type) were made by instantiating it.
"""

import functools
import gzip
import importlib.util
import json
import math
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.common.config import freeze
from jukejax.models.prior_config import PriorConfig
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.runtime.sharding import MeshConfig
from jukejax.training import optim
from jukejax.training.tasks.vqvae_loss import LossConfig, check_window
from jukejax.weights.openai import prior as openai_prior
from jukejax.weights.openai import vqvae as openai_vqvae
from jukejax.weights.part_configs import find_prior_shapes

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
# (file, variant): (OpenAI's name in the golden files, parameters in design.md)
PRIORS = {
    ("released", "upsampler0"): ("upsampler_level_0", 981_298_176),
    ("released", "upsampler1"): ("upsampler_level_1", 981_298_176),
    ("released", "1b_lyrics"): ("prior_1b_lyrics", 942_643_200),
    ("released", "5b"): ("prior_5b", 5_060_452_800),
    ("released", "5b_lyrics"): ("prior_5b_lyrics", 5_640_506_800),
    ("small", "small_prior"): ("small_prior", 161_862_656),
    ("small", "small_labelled_prior"): ("small_labelled_prior", 162_170_880),
    ("small", "small_single_enc_dec_prior"): ("small_single_enc_dec_prior", 160_547_840),
    ("small", "small_sep_enc_dec_prior"): ("small_sep_enc_dec_prior", 168_633_280),
    ("small", "small_upsampler"): ("small_upsampler", 218_015_232),
}
VQVAES = {("released", "vqvae"): 1_485_763, ("small", "small_vqvae"): 586_050}
CODEBOOKS = {("released", "vqvae"): 3 * 2048 * 64, ("small", "small_vqvae"): 2 * 1024 * 64}


@functools.cache
def config_file(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"openai_{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(file: str, variant: str):
    return config_file(file).get_config(variant)


def size(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@functools.cache
def prior_of(file: str, variant: str):
    config = freeze(PriorConfig, config_of(file, variant).model.to_dict())
    return config, find_prior_shapes(config)


@functools.cache
def vqvae_of(file: str, variant: str):
    config = freeze(VQVAEConfig, config_of(file, variant).model.to_dict())
    audio = jnp.zeros((1, config.hops[-1], 1))
    return config, nn.meta.unbox(jax.eval_shape(VQVAE(config).init, jax.random.key(0), audio))


def their_shapes(entries, ours) -> dict[str, list[int]]:
    """The shape of every tensor of a checkpoint, by way of the mapping table."""
    shapes = {}
    for entry in entries:
        leaf = functools.reduce(lambda tree, key: tree[key], entry.path, ours)
        shape = leaf.shape if entry.layer is None else leaf.shape[1:]
        if entry.axes is not None:
            shape = [shape[axis] for axis in np.argsort(entry.axes)]
        shapes[entry.name] = list(shape)
    return shapes


@functools.cache
def golden_keys() -> dict:
    with gzip.open(GOLDEN / "released_state_dict_keys.json.gz", "rt") as file:
        return json.load(file)


def without_type(shape: list) -> list[int]:
    return [number for number in shape if not isinstance(number, str)]


def test_every_variant_is_counted_here():
    counted = {*PRIORS, *VQVAES}
    files = {path.stem.removeprefix("openai_") for path in (ROOT / "configs").glob("openai_*.py")}
    assert {(name, variant) for name in files for variant in config_file(name).VARIANTS} == counted
    assert {name for name, _ in PRIORS.values()} | {"vqvae"} == golden_keys().keys()


@pytest.mark.parametrize("which", PRIORS, ids="-".join)
def test_priors_have_openais_parameters_to_the_unit(which):
    name, parameters = PRIORS[which]
    released = json.loads((GOLDEN / "released_models.json").read_text())[name]
    config, shapes = prior_of(*which)
    assert size(shapes) == parameters == released["params"]
    stack = config.autoregressive.transformer
    assert [kind.value for kind in stack.pattern[:20]] == released["first_attn"]
    assert stack.seq_len == released["n_ctx_total"]
    assert stack.grid.block_len == released["block_ctx"]
    assert stack.head_dim == released["d_head"]


@pytest.mark.parametrize("which", PRIORS, ids="-".join)
def test_every_tensor_of_a_prior_has_openais_name_and_shape(which):
    config, shapes = prior_of(*which)
    ours = their_shapes(openai_prior.prior_entries(config), shapes)
    theirs = golden_keys()[PRIORS[which][0]]
    assert ours == {name: without_type(shape) for name, shape in theirs.items()}


@pytest.mark.parametrize("which", VQVAES, ids="-".join)
def test_vqvaes_have_openais_parameters_to_the_unit(which):
    _, shapes = vqvae_of(*which)
    assert size(shapes["params"]) == VQVAES[which]
    books = [book["codebook"] for book in shapes["codebook"].values()]
    assert size(books) == CODEBOOKS[which]


def test_every_tensor_of_the_vqvae_has_openais_name_and_shape():
    config, shapes = vqvae_of("released", "vqvae")
    assert their_shapes(openai_vqvae.vqvae_entries(config), shapes) == golden_keys()["vqvae"]


@pytest.mark.parametrize("which", [*PRIORS, *VQVAES], ids="-".join)
def test_the_run_is_set_up_as_openais(which):
    config = config_of(*which)
    optimizer = freeze(optim.OptimizerConfig, config.optimizer.to_dict())
    freeze(MeshConfig, config.mesh.to_dict())
    rate = optim.make_schedule(optimizer)
    assert rate(0) == 0
    np.testing.assert_allclose(rate(100), 3e-4, rtol=1e-6)
    assert rate(config.steps) == 0
    assert optimizer.beta2 == (0.925 if which == ("released", "5b") else 0.999)
    assert optimizer.weight_decay == (0.0 if which in VQVAES else 0.01)
    if which in VQVAES:
        model = freeze(VQVAEConfig, config.model.to_dict())
        check_window(model, freeze(LossConfig, config.loss.to_dict()), config.data.window)


def test_windows_cover_the_seconds_of_the_released_models():
    seconds = {
        which: freeze(PriorConfig, config_of(*which).model.to_dict()).sample_length / 44100
        for which in PRIORS
    }
    assert round(seconds["released", "upsampler0"], 2) == 1.49
    assert round(seconds["released", "upsampler1"], 2) == 5.94
    assert round(seconds["released", "1b_lyrics"], 2) == 17.83
    for variant in ("5b", "5b_lyrics"):
        assert round(seconds["released", variant], 2) == 23.78


@pytest.mark.parametrize("name", ["released", "small"])
def test_an_unknown_variant_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"configs/openai_{name}.py has no variant 'x'; take one"):
        config_of(name, "x")
