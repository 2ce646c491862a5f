"""Convolutions against plain definitions, and the stacks made of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jukejax.models import layers
from jukejax.models.layers import DecoderBlock, EncoderBlock, ResidualStack, StackConfig
from jukejax.ops import convolution as convolutions
from jukejax.ops.formulas import convolve


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


conv = jax.jit(convolutions.conv, static_argnames="dilation")


def unboxed(module, key, x):
    return nn.meta.unbox(jax.jit(module.init)(key, x))


def apply(module, variables, x):
    return jax.jit(module.apply)(variables, x)


@pytest.mark.parametrize("dilation", [1, 3, 9, 20])
def test_dilated_conv_equals_a_loop(dilation):
    x, kernel = normal(0, 2, 15, 4), normal(1, 3, 4, 5)
    slow = np.zeros((2, 15, 5))
    for t in range(15):
        for tap in range(3):
            source = t + (tap - 1) * dilation
            if 0 <= source < 15:
                slow[:, t] += x[:, source] @ kernel[tap]
    np.testing.assert_allclose(conv(x, kernel, dilation=dilation), slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("taps", "dilation"), [(1, 1), (3, 1), (3, 4), (3, 30), (5, 2)])
def test_conv_gradients_equal_xla_s_own(taps, dilation):
    x, kernel, cotangent = normal(0, 2, 21, 4), normal(1, taps, 4, 5), normal(2, 2, 21, 5)

    @jax.jit
    def gradients(x, kernel, cotangent):
        _, ours = jax.vjp(lambda x, k: convolutions.conv(x, k, dilation=dilation), x, kernel)
        _, theirs = jax.vjp(lambda x, k: convolve(x, k, dilation), x, kernel)
        return ours(cotangent), theirs(cotangent)

    for a, b in zip(*gradients(x, kernel, cotangent), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("length", [8, 13])
def test_strided_conv_equals_xla_s(stride, length):
    x, kernel = normal(0, 2, length, 3), normal(1, 2 * stride, 3, 5)
    theirs = lax.conv_general_dilated(
        x,
        kernel,
        (stride,),
        [(stride // 2, stride // 2)],
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
    ours = jax.jit(convolutions.strided_conv)(x, kernel)
    assert ours.shape == (2, length // stride, 5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [2, 4])
def test_transposed_conv_is_the_adjoint_of_the_strided_one(stride):
    x, kernel = normal(0, 2, 6, 3), normal(1, 2 * stride, 3, 5)

    @jax.jit
    def run(x, kernel):
        ours = convolutions.transposed_conv(x, kernel)
        _, adjoint = jax.vjp(lambda y: convolutions.strided_conv(y, kernel.swapaxes(1, 2)), ours)
        return ours, adjoint(x)[0]

    ours, expected = run(x, kernel)
    assert ours.shape == (2, 6 * stride, 5)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_dilations_grow_cycle_and_reverse():
    def dilations(**fields):
        return StackConfig(dilation_growth_rate=3, **fields).dilations

    assert dilations(depth=4) == [1, 3, 9, 27]
    assert dilations(depth=5, dilation_cycle=2) == [1, 3, 1, 3, 1]
    assert dilations(depth=3, reverse_dilation=True) == [9, 3, 1]


def test_a_stack_sees_exactly_the_sum_of_its_dilations(key):
    stack = ResidualStack(StackConfig(depth=3, dilation_growth_rate=3))
    x = jax.random.normal(key(), (1, 61, 32))
    variables = jax.jit(stack.init)(key(), x)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(stack.apply(variables, x)[0, 30])))(x)
    seen = np.flatnonzero(np.abs(gradient[0]).sum(axis=-1))
    assert (seen.min(), seen.max()) == (30 - 13, 30 + 13)


def test_a_stack_is_its_blocks_in_order(key):
    config = StackConfig(depth=2, m_conv=1.5, dilation_growth_rate=2, res_scale=True)
    stack = ResidualStack(config)
    x = normal(0, 2, 9, 4)
    variables = jax.device_get(unboxed(stack, key(), x))
    expected = x
    for i, dilation in enumerate([1, 2]):
        weights = variables["params"][f"block_{i}"]
        assert weights["conv3"]["kernel"].shape == (3, 4, 6)
        h = conv(np.maximum(expected, 0), weights["conv3"]["kernel"], dilation=dilation)
        h = np.maximum(np.asarray(h) + weights["conv3"]["bias"], 0)
        h = h @ weights["conv1"]["kernel"][0] + weights["conv1"]["bias"]
        expected = expected + h / np.sqrt(2)
    np.testing.assert_allclose(apply(stack, variables, x), expected, rtol=1e-5, atol=1e-6)


def test_zero_out_starts_as_the_identity(key):
    stack = ResidualStack(StackConfig(depth=3, dilation_growth_rate=3, zero_out=True))
    x = jax.random.normal(key(), (1, 20, 4))
    np.testing.assert_array_equal(apply(stack, unboxed(stack, key(), x), x), x)


def test_remat_changes_nothing(key):
    x = jax.random.normal(key(), (1, 20, 4))
    plain, remat = (ResidualStack(StackConfig(depth=2, remat=remat)) for remat in (False, True))
    variables = unboxed(plain, key(), x)

    def value_and_gradient(stack):
        return jax.jit(jax.value_and_grad(lambda v: jnp.sum(stack.apply(v, x) ** 2)))(variables)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        value_and_gradient(plain),
        value_and_gradient(remat),
    )


def block(cls, **fields):
    small = {"in_features": 3, "width": 4, "out_features": 5, "downs": 2, "stride": 4}
    return cls(**({"stack": StackConfig(depth=1)} | small | fields))


def test_blocks_change_the_length_by_stride_to_the_downs():
    def output(module, *shape):
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        return jax.eval_shape(module.init_with_output, jax.random.key(0), x)[0].shape

    up = block(DecoderBlock, in_features=5, out_features=3)
    for length, codes in [(64, 4), (67, 4), (51, 3)]:
        assert output(block(EncoderBlock), 2, length, 3) == (2, codes, 5)
        assert output(up, 2, codes, 5) == (2, codes * 16, 3)


@pytest.mark.parametrize("cls", [EncoderBlock, DecoderBlock])
def test_a_block_without_downs_is_the_identity(key, cls):
    x = jax.random.normal(key(), (2, 7, 3))
    module = block(cls, downs=0, out_features=3)
    variables = module.init(key(), x)
    assert not variables
    np.testing.assert_array_equal(module.apply(variables, x), x)


@pytest.mark.parametrize("cls", [EncoderBlock, DecoderBlock])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"in_features": 4}, "takes 4 channels, but its input has 3"),
        ({"stride": 3}, "stride 3 is odd"),
        ({"downs": 0}, "keeps its 3 channels, but out_features is 5"),
    ],
)
def test_impossible_blocks_say_why(key, cls, fields, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(block(cls, **fields).init, key(), jnp.zeros((1, 32, 3)))


def test_weights_stay_float32_and_activations_follow_dtype(key):
    x = jax.random.normal(key(), (1, 32, 3))
    half, full = (block(EncoderBlock, dtype=dtype) for dtype in (jnp.bfloat16, jnp.float32))
    variables = unboxed(half, key(), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    y = apply(half, variables, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), apply(full, variables, x), atol=0.05)


def test_kernels_name_their_axes_for_sharding(key):
    boxed = jax.eval_shape(block(DecoderBlock).init, key(), jnp.zeros((1, 4, 3)))
    specs = nn.get_partition_spec(boxed)["params"]
    assert specs["up_0"]["kernel"] == jax.sharding.PartitionSpec(None, "conv_in", "conv_out")
    assert specs["in"]["bias"] == jax.sharding.PartitionSpec("conv_out")


def test_initial_weights_have_pytorch_s_range(key):
    x = jnp.zeros((1, 8, 64))
    weights = unboxed(block(DecoderBlock, in_features=64, width=64, stride=2), key(), x)["params"]
    for name, fan_in in {"in": 3 * 64, "up_0": 4 * 64, "up_1": 4 * 5}.items():
        largest = float(jnp.max(jnp.abs(weights[name]["kernel"])))
        assert 0.95 / np.sqrt(fan_in) < largest <= 1 / np.sqrt(fan_in)


def test_params_from_one_draw_start_as_the_modules_start_them(key):
    x = jnp.zeros((1, 8, 16))
    stack = StackConfig(depth=1, zero_out=True)
    module = block(DecoderBlock, in_features=16, width=24, out_features=16, stack=stack)
    boxed = jax.jit(module.init)(key(), x)["params"]
    shapes = jax.eval_shape(lambda: boxed)
    ours = jax.jit(lambda k: layers.init_params(shapes, k, zero_out=True))(key())
    assert nn.get_partition_spec(ours) == nn.get_partition_spec(boxed)
    ours, theirs = nn.meta.unbox(ours), nn.meta.unbox(boxed)
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        np.testing.assert_allclose(np.max(np.abs(a)), np.max(np.abs(b)), rtol=0.4)
        if a.size > 500:
            np.testing.assert_allclose(np.std(a), np.std(b), rtol=0.1)
            assert abs(float(np.mean(a))) < 0.1 * float(np.std(b)) + 1e-9
