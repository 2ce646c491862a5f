"""Sampling with weights that devices share: the logits of one device to rounding, and its codes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jukejax
from jukejax.inference import budget, weight_sharding
from jukejax.inference.conditioning import PriorInputs, compute_conditions, prepare_weights
from jukejax.inference.loaded_model import Model
from jukejax.inference.score import score_windows
from jukejax.models import decoding
from jukejax.models.conditioners import LyricsConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior import build_sequence
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops.cpu.switch import set_cpu_kernels
from jukejax.runtime import sharding
from jukejax.runtime.sharding import MeshConfig
from tests.support import small_bundle

STACK = {"emb_dim": 64, "num_layers": 3, "num_heads": 8, "seq_len": 64, "num_blocks": 8}
TOP = PriorConfig(
    level=2,
    codebook_size=64,
    hop_length=128,
    transformer=TransformerConfig(attn_ratio=0.5, **STACK),
)
LABELS = LabelConfig(num_artists=3, num_genres=2, **small_bundle.LABELS)
CONFIGS = {
    "heads": TOP,
    "lyrics": PriorConfig(
        level=2,
        codebook_size=16,
        hop_length=128,
        transformer=small_bundle.stack(attn_order=6, num_layers=4),
        labels=LABELS,
        lyrics=LyricsConfig(
            "separate",
            num_tokens=8,
            vocab_size=20,
            encoder=small_bundle.stack(emb_dim=8, seq_len=8, num_blocks=2),
        ),
        merged_decoder=True,
    ),
}
MESHES = {
    "tensor": MeshConfig(1, 1, 8),
    "mixed": MeshConfig(2, 1, 4),
    "two": MeshConfig(4, 1, 2),
}


def draw_params(config):
    params = small_bundle.random_weights(config, seed=1)["params"]
    return jax.tree.map(lambda leaf: 2 * leaf, params)


def place_weights(config, mesh, weights="float"):
    """Weights on the first device, or shared by those of a mesh."""
    if mesh is None:
        with set_cpu_kernels(False):
            return prepare_weights(config, draw_params(config), jnp.float32, weights)
    return weight_sharding.shard_weights(
        config, draw_params(config), jnp.float32, weights, sharding.make_mesh(MESHES[mesh])
    )


@functools.cache
def decode(name, mesh, weights="float"):
    """Logits [steps, rows, V] of the positions after a prefill of 20, and the caches after them."""
    config = CONFIGS[name]
    placed, model = place_weights(config, mesh, weights), config.autoregressive
    generator = np.random.default_rng(0)
    codes = generator.integers(config.codebook_size, size=(4, config.seq_len)).astype(np.int32)
    labels = None
    if config.labels is not None:
        labels = generator.integers(1, 3, size=(4, config.label_width)).astype(np.int32)

    @jax.jit
    def prefill(placed, codes, labels):
        conditions = compute_conditions(config, placed, None, labels)
        tokens = build_sequence(config, codes, labels)
        length = jnp.int32(20)
        caches = decoding.prefill_caches(model, placed.decode, tokens, conditions, length)
        return tokens, conditions, caches

    @jax.jit
    def step(placed, caches, tokens, conditions, position):
        previous = tokens[:, position - 1]
        return decoding.decode_step(model, placed.decode, caches, previous, conditions, position)

    shared = weight_sharding.find_mesh(placed)
    if shared is not None:
        codes, labels = weight_sharding.place_rows(shared, (codes, labels))
    with weight_sharding.use_mesh(shared), set_cpu_kernels(shared is not None):
        tokens, conditions, caches = prefill(placed, codes, labels)
        logits = []
        for position in range(20, 24):
            of_step, caches = step(placed, caches, tokens, conditions, jnp.int32(position))
            logits.append(of_step)
    return np.stack(logits), caches


@pytest.mark.parametrize(
    ("name", "mesh", "weights"),
    [
        ("heads", "tensor", "float"),
        ("heads", "mixed", "int8"),
        ("lyrics", "two", "float"),
    ],
)
def test_logits_are_those_of_one_device(name, mesh, weights):
    """To 1e-5 of logits of up to 8, whose terms are added in another order."""
    expected, _ = decode(name, None, weights)
    logits, _ = decode(name, mesh, weights)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("mesh", "weights", "rows", "heads"), [("tensor", "float", 4, 1), ("mixed", "int8", 2, 2)]
)
def test_caches_are_sharded_by_rows_and_heads(mesh, weights, rows, heads):
    _, caches = decode("heads", mesh, weights)
    for array in jax.tree.leaves(caches):
        held = array.sharding.shard_shape(array.shape)
        assert (held[0], held[-3]) == (rows, heads)


def test_matrices_are_divided_among_the_devices():
    whole = sharding.bytes_by_device(place_weights(TOP, None))
    each = sharding.bytes_by_device(place_weights(TOP, "tensor"))
    # On each device: the embeddings of 64 positions, norms and output biases of three layers.
    replicated = 4 * (64 * 64 + 64 + 3 * 6 * 64)
    assert (whole - replicated) / 8 < each < 1.02 * ((whole - replicated) / 8 + replicated)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("bundle"), "none")


def test_codes_are_those_of_one_device(folder):
    """Two devices share the weights, four groups the rows; no draw is as close as the rounding."""
    settings = {"seconds": 0.4, "num_samples": 3, "artist": "anna", "levels": (2, 1)}
    expected, tracks = (
        jukejax.load(folder, tensor=tensor).sample(
            guidance=1.5, schedule="parallel", seed=3, **settings
        )
        for tensor in (1, 2)
    )
    for level, codes in expected.codes.items():
        np.testing.assert_array_equal(tracks.codes[level], codes)
        assert len(np.unique(codes)) > 4


def test_bits_of_windows_are_those_of_one_device(folder):
    codes = jnp.asarray(np.random.default_rng(0).integers(16, size=(2, 64)), jnp.int32)
    bits = []
    for tensor in (1, 2):
        config, weights = Model(folder, tensor=tensor).load_prior(2)
        inputs = PriorInputs(codes, None, jnp.zeros((2, config.label_width), jnp.int32))
        bits.append(np.asarray(score_windows(config, weights, inputs).bits))
    np.testing.assert_allclose(bits[1], bits[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("share", "shards"), [(1.1, 1), (0.9, 2), (0.45, 4), (0.2, 8), (0.001, 8)])
def test_as_few_devices_share_the_weights_as_hold_them(monkeypatch, share, shards):
    """Of a large model, whose weights are nearly all of its memory."""
    config = PriorConfig(2, 64, 128, TransformerConfig(attn_ratio=0.5, **STACK | {"emb_dim": 4096}))
    shapes = weight_sharding._box_shapes(config, jnp.bfloat16, "float")
    weights = sharding.bytes_by_device(sharding.unbox(shapes))
    rows = budget.count_row_bytes(config, jnp.bfloat16)
    rows += budget.count_pass_bytes(config, jnp.bfloat16)
    capacity = (share * weights + budget.SLACK * rows) / 0.8
    monkeypatch.setattr(weight_sharding, "_find_capacity", lambda device: capacity)
    mesh = weight_sharding.choose_mesh(config, jnp.bfloat16, "float", 0.8)
    assert mesh.shape["tensor"] == shards
    assert mesh.size == 8


def test_number_of_shards_divides_the_heads_where_it_can(monkeypatch):
    """Three devices would hold it; four do, and divide its 4 heads."""
    stack = STACK | {"emb_dim": 4096, "num_heads": 4}
    config = PriorConfig(2, 64, 128, TransformerConfig(attn_ratio=0.5, **stack))
    weights = sharding.bytes_by_device(
        sharding.unbox(weight_sharding._box_shapes(config, jnp.bfloat16, "float"))
    )
    monkeypatch.setattr(weight_sharding, "_find_capacity", lambda device: weights / 2.5)
    assert weight_sharding.choose_mesh(config, jnp.bfloat16, "float", 1.0).shape["tensor"] == 4


def test_more_shards_than_devices_are_refused(folder):
    with pytest.raises(ValueError, match=r"--tensor=9 .* this host has 8"):
        Model(folder, tensor=9)
