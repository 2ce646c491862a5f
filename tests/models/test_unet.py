"""Spleeter's nets: each convolution against a plain one, the whole against a step-by-step twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.unet import UNet, UNetConfig, UNets, dilated_conv, strided_conv, transposed_conv

SMALL = UNetConfig(features=(3, 5, 7))
# All of Deezer's tensors but the step (8 bytes) and the norm that no output depends on.
RELEASED_PARAMETERS = (78_614_080 - 8) // 4 - 2 * 4 * 512


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def plain_conv(x, kernel, stride=1, dilation=1, before=0, after=0):
    """A convolution as sums, float64. [B, T, F, C] -> [B, T', F', D]."""
    x = np.pad(x.astype(np.float64), ((0, 0), (before, after), (before, after), (0, 0)))
    reach = dilation * (kernel.shape[0] - 1)
    height, width = (size - reach for size in x.shape[1:3])
    y = 0.0
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            y += x[:, i * dilation :, j * dilation :][:, :height, :width] @ kernel[i, j]
    return y[:, ::stride, ::stride]


def plain_transposed_conv(x, kernel):
    """Each input adds the kernel to the output at twice its place; one row before, two after go."""
    batch, height, width, _ = x.shape
    y = np.zeros((batch, 2 * height + 3, 2 * width + 3, kernel.shape[3]))
    for m in range(height):
        for n in range(width):
            y[:, 2 * m : 2 * m + 5, 2 * n : 2 * n + 5] += np.einsum(
                "bc,ijcd->bijd", x[:, m, n].astype(np.float64), kernel
            )
    return y[:, 1:-2, 1:-2]


def test_strided_conv_pads_one_before_and_two_after():
    x, kernel = normal(0, 2, 8, 12, 3), normal(1, 5, 5, 3, 4)
    expected = plain_conv(x, kernel, stride=2, before=1, after=2)
    np.testing.assert_allclose(jax.jit(strided_conv)(x, kernel), expected, atol=1e-4)


def test_transposed_conv_is_the_plain_one():
    x, kernel = normal(0, 2, 4, 6, 3), normal(1, 5, 5, 3, 4)
    ours = jax.jit(transposed_conv)(x, kernel)
    np.testing.assert_allclose(ours, plain_transposed_conv(x, kernel), atol=1e-4)


def test_transposed_conv_is_the_gradient_of_the_strided_one():
    x, kernel = normal(0, 1, 8, 8, 3), normal(1, 5, 5, 3, 4)
    cotangent = normal(2, 1, 4, 4, 4)

    @jax.jit
    def run(x, kernel, cotangent):
        _, pullback = jax.vjp(lambda x: strided_conv(x, kernel), x)
        return transposed_conv(cotangent, kernel.swapaxes(2, 3)), pullback(cotangent)[0]

    ours, expected = run(x, kernel, cotangent)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_dilated_conv_is_the_plain_one():
    x, kernel = normal(0, 2, 9, 11, 1), normal(1, 4, 4, 1, 2)
    expected = plain_conv(x, kernel, dilation=2, before=3, after=3)
    ours = jax.jit(dilated_conv, static_argnums=2)(x, kernel, 2)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def random_variables(net, x):
    """Draws variables that are all different, variances above 0."""
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(shapes)
    drawn = [0.2 * normal(i, *leaf.shape) for i, leaf in enumerate(leaves)]
    variables = jax.tree.unflatten(tree, drawn)
    variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])
    return variables


def plain_unet(variables, x, depth):
    """The mask, layer by layer as in Deezer's unet.py."""
    params, stats = variables["params"], variables["batch_stats"]

    def norm(name, x):
        p, s = params[name], stats[name]
        return p["scale"] * (x - s["mean"]) / np.sqrt(s["var"] + 1e-3) + p["bias"]

    def layer(kind, name, x, **kwargs):
        return kind(x, params[name]["kernel"], **kwargs) + params[name]["bias"]

    convs = []
    for i in range(depth):
        if i > 0:
            x = norm(f"down_norm_{i - 1}", x)
            x = np.where(x > 0, x, 0.2 * x)
        x = layer(plain_conv, f"down_{i}", x, stride=2, before=1, after=2)
        convs.append(x)
    for i in range(depth):
        x = norm(f"up_norm_{i}", np.maximum(layer(plain_transposed_conv, f"up_{i}", x), 0))
        if i < depth - 1:
            x = np.concatenate([convs[depth - 2 - i], x], axis=-1)
    x = layer(plain_conv, "mask", x, dilation=2, before=3, after=3)
    return 1 / (1 + np.exp(-x))


def test_a_net_is_its_layers_one_after_another():
    x = np.abs(normal(9, 1, 16, 8, 2))
    net = UNet(SMALL)
    variables = random_variables(net, x)
    expected = plain_unet(variables, x, depth=3)
    assert expected.std() > 0.05
    np.testing.assert_allclose(jax.jit(net.apply)(variables, x), expected, atol=1e-4)


def test_each_stem_is_its_own_nets_mask_on_the_input():
    x = np.abs(normal(9, 2, 8, 16, 2))
    nets = UNets(SMALL)
    variables = random_variables(nets, x)
    result = jax.jit(nets.apply)(variables, x)
    apply_one = jax.jit(UNet(SMALL).apply)
    assert result.shape == (2, *x.shape)
    for i, stem in enumerate(SMALL.stems):
        own = {kind: tree[stem] for kind, tree in variables.items()}
        np.testing.assert_allclose(result[i], apply_one(own, x) * x, atol=1e-6)


def test_the_released_nets_have_all_of_deezers_parameters():
    config = UNetConfig()
    x = jax.ShapeDtypeStruct((1, 512, 1024, 2), jnp.float32)
    shapes = jax.eval_shape(UNets(config).init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == RELEASED_PARAMETERS


def test_sizes_that_cannot_be_halved_are_named():
    with pytest.raises(
        ValueError, match="12 frames and 16 frequencies: both must be multiples of 8"
    ):
        jax.eval_shape(UNets(SMALL).init, jax.random.key(0), jnp.zeros((1, 12, 16, 2)))
