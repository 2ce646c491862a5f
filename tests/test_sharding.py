"""The mesh, the table of axes, and training on two devices against training on one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jukejax import sharding, state
from jukejax.models.conditioners import CodeConditionerConfig
from jukejax.models.prior import Prior, PriorConfig, bits_per_code
from jukejax.models.transformer import TransformerConfig
from jukejax.optim import OptimizerConfig, make_optimizer
from jukejax.sharding import MeshConfig

TWO = {"data": MeshConfig(data=2), "fsdp": MeshConfig(1, 2), "tensor": MeshConfig(1, 1, 2)}
UPSAMPLER = PriorConfig(
    level=1,
    codebook_size=6,
    hop_length=32,
    transformer=TransformerConfig(
        emb_dim=8, num_layers=3, num_heads=2, seq_len=8, num_blocks=2, attn_ratio=0.5
    ),
    upper=CodeConditionerConfig(vocab_size=6, downs=1, stride=2, width=4, depth=1),
)
TRAINED = PriorConfig(
    level=2,
    codebook_size=6,
    hop_length=128,
    transformer=TransformerConfig(
        emb_dim=8, num_layers=1, num_heads=2, seq_len=8, num_blocks=2, attn_ratio=0.5
    ),
)
STEPS, BATCH = 3, 4


@pytest.fixture(scope="module", autouse=True)
def two_devices():
    assert len(jax.devices()) >= 2, "tests/conftest.py asks for two devices"


def test_minus_one_takes_the_devices_that_are_left():
    devices = jax.devices()[:2]
    assert sharding.make_mesh(MeshConfig(), devices).shape == {"data": 2, "fsdp": 1, "tensor": 1}
    assert sharding.make_mesh(MeshConfig(-1, 2), devices).shape["data"] == 1
    assert sharding.make_mesh(MeshConfig(1, 1, -1), devices).shape["tensor"] == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MeshConfig(3), "the mesh data 3 x fsdp 1 x tensor 1 does not use all 2 devices"),
        (MeshConfig(1), "does not use all 2 devices; change mesh"),
        (MeshConfig(-1, 3), "does not use all 2 devices"),
        (MeshConfig(-1, -1), r"mesh sizes are \[-1, -1, 1\]; they must be positive"),
        (MeshConfig(0), "must be positive"),
        (MeshConfig(-2), "must be positive"),
    ],
    ids=str,
)
def test_a_mesh_that_does_not_fit_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        sharding.make_mesh(config, jax.devices()[:2])


def test_every_axis_name_of_the_models_is_in_the_table():
    """state_shardings looks each one up; each leaf gets a sharding that its shape allows."""
    for config in TWO.values():
        mesh = sharding.make_mesh(config, jax.devices()[:2])
        boxed = upsampler_shapes()
        shardings = sharding.state_shardings(mesh, boxed)
        for leaf, placed in zip(
            jax.tree.leaves(sharding.unbox(boxed)), jax.tree.leaves(shardings), strict=True
        ):
            placed.shard_shape(leaf.shape)


def test_parameters_are_cut_where_the_table_says_and_the_mesh_divides():
    mesh = sharding.make_mesh(TWO["fsdp"], jax.devices()[:2])
    params = sharding.state_shardings(mesh, upsampler_shapes())
    kernel = params["autoregressive"]["transformer"]["self_layers"]["mlp_in"]["kernel"]
    assert kernel.spec == PartitionSpec(None, "fsdp", "tensor")
    odd = {"w": jax.ShapeDtypeStruct((3,), jnp.float32)}
    whole = sharding.state_shardings(mesh, odd)["w"]
    assert whole.spec == PartitionSpec(None)


def test_a_batch_is_cut_along_its_rows():
    mesh = sharding.make_mesh(TWO["data"], jax.devices()[:2])
    rows = np.arange(8, dtype=np.int32).reshape(4, 2)
    placed = sharding.put_batch(mesh, {"x": rows})["x"]
    np.testing.assert_array_equal(placed, rows)
    assert [shard.data.shape for shard in placed.addressable_shards] == [(2, 2), (2, 2)]


def loss(params, extra, batch, key):
    logits = Prior(TRAINED).apply({"params": params}, batch["codes"])
    bits = bits_per_code(logits, batch["codes"])
    return bits * jnp.log(2.0), (extra, {"bits_per_code": bits})


OPTIMIZER = make_optimizer(
    OptimizerConfig(learning_rate=0.01, warmup_steps=1, decay_steps=1e10, eps=1e-3)
)


def init(key):
    def init_model(key):
        return Prior(TRAINED).init(key, jnp.zeros((BATCH, 8), jnp.int32))["params"], {}

    return state.init_state(init_model, OPTIMIZER, key)


def upsampler_shapes():
    """Of a model with every kind of parameter: stacks, tables, norms, convolutions."""
    codes = (jnp.zeros((1, length), jnp.int32) for length in (8, 4))
    return jax.eval_shape(Prior(UPSAMPLER).init, jax.random.key(0), *codes)["params"]


def batches():
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        yield {"codes": rng.integers(6, size=(BATCH, 8)).astype(np.int32)}


@pytest.fixture(scope="module")
def start():
    """A fresh state on the host, the same for every mesh."""
    return jax.tree.map(np.asarray, sharding.unbox(jax.jit(init)(jax.random.key(0))))


def train(start, config, count):
    mesh = sharding.make_mesh(config, jax.devices()[:count])
    shardings = sharding.state_shardings(mesh, jax.eval_shape(init, jax.random.key(0)))
    run = jax.device_put(start, shardings)
    replicated = NamedSharding(mesh, PartitionSpec())
    step = jax.jit(
        functools.partial(state.train_step, loss, OPTIMIZER, 0.9),
        out_shardings=(shardings, replicated),
    )
    with jax.set_mesh(mesh):
        for batch in batches():
            run, metrics = step(run, sharding.put_batch(mesh, batch), jax.random.key(1))
    assert int(run.step) == STEPS
    return jax.tree.map(np.asarray, run), float(metrics["loss"])


@pytest.fixture(scope="module")
def single(start):
    return train(start, MeshConfig(), 1)


@pytest.mark.parametrize("axis", TWO)
def test_two_devices_train_as_one(start, single, axis):
    expected, expected_loss = single
    run, last_loss = train(start, TWO[axis], 2)
    np.testing.assert_allclose(last_loss, expected_loss, rtol=1e-5)
    for name in ("params", "ema_params"):
        ours, theirs = (jax.tree.leaves(getattr(x, name)) for x in (run, expected))
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(x, y, atol=2e-5)
    moved = [
        np.abs(x - y).max()
        for x, y in zip(jax.tree.leaves(run.params), jax.tree.leaves(start.params), strict=True)
    ]
    assert max(moved) > 1e-3
