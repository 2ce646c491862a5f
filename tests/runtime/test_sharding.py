"""The mesh, the table of axes, and where arrays come to lie; test_equal_steps trains on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jukejax.models.conditioners import CodeConditionerConfig
from jukejax.models.prior import Prior
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops import logical_axes as placement
from jukejax.runtime import sharding
from jukejax.runtime.sharding import MeshConfig

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
        (MeshConfig(-1, -1), r"mesh.data=-1, mesh.fsdp=-1, mesh.tensor=1: sizes must be positive"),
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


def upsampler_shapes():
    """Of a model with every kind of parameter: stacks, tables, norms, convolutions."""
    codes = (jnp.zeros((1, length), jnp.int32) for length in (8, 4))
    return jax.eval_shape(Prior(UPSAMPLER).init, jax.random.key(0), *codes)["params"]


def test_a_process_alone_loads_every_row():
    for config in TWO.values():
        mesh = sharding.make_mesh(config, jax.devices()[:2])
        np.testing.assert_array_equal(sharding.batch_rows(mesh, 4), np.arange(4))


def test_a_batch_that_the_mesh_cannot_share_out_is_refused():
    mesh = sharding.make_mesh(MeshConfig(2), jax.devices()[:2])
    sharding.check_batch(mesh, 4, 2)
    with pytest.raises(
        ValueError, match=r"data\.batch_size 6 must be a multiple of 4: mesh\.data 2"
    ):
        sharding.check_batch(mesh, 6, 2)


def test_activations_go_where_the_rules_say_and_the_mesh_divides():
    mesh = sharding.make_mesh(MeshConfig(1, 1, 2), jax.devices()[:2])

    def place(x, names, rules=sharding.RULES):
        with placement.placed_by(rules):
            return placement.constrain(x, *names)

    x = jnp.zeros((4, 3, 6))
    names = ("batch", "time", "act_mlp")
    with jax.set_mesh(mesh):
        cut = jax.jit(lambda x: place(x, names))(x)
        odd = jax.jit(lambda x: place(x, names))(x[..., :5])
        free = jax.jit(lambda x: place(x, names, {}))(x)
    assert cut.sharding.shard_shape(cut.shape) == (4, 3, 3)
    assert odd.sharding.shard_shape(odd.shape) == (4, 3, 5)
    assert free.sharding.shard_shape(free.shape) == (4, 3, 6)
    assert place(x, names) is x  # no mesh at all
