"""The VQ-VAE whose encoders and decoders work at the rate of the codes."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.common.config import freeze, to_plain
from jukejax.inference.codec import Codec
from jukejax.models.layers import init_params
from jukejax.models.vqvae import VQVAE, VQVAEConfig
from jukejax.ops import quantize
from jukejax.ops.bands import NUM_BANDS
from jukejax.weights.huggingface.vqvae_config import export_vqvae
from jukejax.weights.openai.parts import part_entries

CONFIG = freeze(
    VQVAEConfig,
    {
        "downs": (2, 1),
        "strides": (2, 4),
        "multipliers": (1, 1),
        "emb_dim": 6,
        "codebook_size": 16,
        "dilation_growth_rate": 3,
        "dilation_cycle": 2,
        "res_scale": True,
        "frames": {"span": 4, "widths": (8, 12), "depths": (2, 3)},
    },
)


@pytest.fixture(scope="module")
def weights():
    """Returns weights in the form of a bundle, with random codebooks."""
    audio = jnp.zeros((1, CONFIG.hops[-1], 1))
    shapes = nn.meta.unbox(jax.eval_shape(VQVAE(CONFIG).init, jax.random.key(0), audio))
    params = jax.jit(lambda key: init_params(shapes["params"], key))(jax.random.key(1))
    books = {}
    for name in shapes["codebook"]:
        book = quantize.empty_codebook(CONFIG.codebook_size, CONFIG.emb_dim)._asdict()
        book["codebook"] = 0.3 * jax.random.normal(jax.random.key(len(name)), (16, 6))
        books[name] = book
    return jax.tree.map(np.asarray, {"params": params, "extra": books})


def draw_audio(length, channels=1):
    return np.random.default_rng(0).normal(0, 0.3, (2, length, channels)).astype(np.float32)


def test_levels_have_their_rates(weights):
    variables = {"params": weights["params"], "codebook": weights["extra"]}
    output = jax.jit(VQVAE(CONFIG).apply)(variables, draw_audio(256))
    assert [x.shape for x in output.audio] == [(2, 256, 1)] * 2
    assert [x.shape for x in output.features] == [(2, 64, 6), (2, 16, 6)]
    assert output.audio[0].dtype == jnp.float32


def test_spectral_levels_learn_from_spectra_alone():
    """The decoder of such a level has no influence on its encoder, that of the others has."""
    frames = dataclasses.replace(CONFIG.frames, spectral=(1,))
    model = VQVAE(dataclasses.replace(CONFIG, frames=frames, bottleneck="none"))
    audio = draw_audio(256)
    params = nn.meta.unbox(jax.jit(model.init)(jax.random.key(0), audio))["params"]

    def sum_outputs(params, choose):
        return jnp.sum(jnp.square(choose(model.apply({"params": params}, audio))))

    def encoder_gradients(choose):
        grads = jax.jit(jax.grad(lambda params: sum_outputs(params, choose)))(params)
        return [
            max(float(jnp.abs(x).max()) for x in jax.tree.leaves(grads[f"encoders_{level}"]))
            for level in range(2)
        ]

    assert encoder_gradients(lambda output: output.audio[0])[0] > 0
    assert encoder_gradients(lambda output: output.audio[1]) == [0, 0]
    assert encoder_gradients(lambda output: output.spectra[1])[1] > 0
    output = model.apply({"params": params}, audio)
    assert {level: x.shape for level, x in output.spectra.items()} == {1: (2, 16, NUM_BANDS)}


def test_stereo_is_encoded_and_decoded():
    config = dataclasses.replace(CONFIG, channels=2, bottleneck="none")
    model = VQVAE(config)
    output, variables = jax.jit(model.init_with_output)(jax.random.key(0), draw_audio(256, 2))
    assert output.audio[1].shape == (2, 256, 2)
    kernel = variables["params"]["encoders_1"]["frames"]["in"]["kernel"]
    assert nn.meta.unbox(kernel).shape == (1, 4 * 16 * 2, 12)


def test_windows_give_the_codes_and_the_audio_of_a_single_pass(weights):
    """The context that the codec leaves around a window covers what a code depends on."""
    description = {"config": to_plain(CONFIG), "sample_rate": 1000}
    codec = Codec(description, weights)
    audio = draw_audio(40_000)[0]
    codes = codec.encode(audio)
    state = {"params": weights["params"], "codebook": weights["extra"]}
    variables = jax.tree.map(jnp.asarray, state)
    whole = jax.jit(lambda x: VQVAE(CONFIG).apply(variables, x, method="encode"))(audio[None])
    assert len(audio) > 2 * codec._window
    for level, expected in zip(codes, whole, strict=True):
        np.testing.assert_array_equal(level, expected[0])
    for level in range(2):
        decode = jax.jit(lambda x, k=level: VQVAE(CONFIG).apply(variables, x, k, method="decode"))
        np.testing.assert_allclose(
            codec.decode(codes[level], level), decode(codes[level][None])[0], atol=1e-5
        )


def test_the_shape_survives_json():
    assert freeze(VQVAEConfig, to_plain(CONFIG)) == CONFIG


def test_every_level_needs_its_width():
    with pytest.raises(ValueError, match=r"frames.depths \(1,\) must have one entry for each of"):
        dataclasses.replace(CONFIG, frames=dataclasses.replace(CONFIG.frames, depths=(1,)))


def test_spectral_levels_must_exist():
    frames = dataclasses.replace(CONFIG.frames, spectral=(2,))
    with pytest.raises(ValueError, match=r"frames.spectral \(2,\) must be among the levels 0 to 1"):
        dataclasses.replace(CONFIG, frames=frames)


def test_formats_of_other_software_refuse_frames():
    with pytest.raises(ValueError, match="OpenAI's code has no VQ-VAE with frames"):
        part_entries(CONFIG)
    config = dataclasses.replace(
        CONFIG,
        downs=(1, 1, 1),
        strides=(2, 2, 2),
        multipliers=(1, 1, 1),
        frames=dataclasses.replace(CONFIG.frames, widths=(4, 4, 4), depths=(1, 1, 1)),
    )
    with pytest.raises(ValueError, match="Transformers' Jukebox has no VQ-VAE with frames"):
        export_vqvae(config)
