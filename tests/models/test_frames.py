"""The VQ-VAE whose encoders and decoders work at the rate of the codes."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.common.config import freeze, to_plain
from jukejax.inference.codec import Codec
from jukejax.inference.spans import ArraySound
from jukejax.models.layers import init_params
from jukejax.models.quantizer import Quantizer
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import quantize
from jukejax.ops.bands import count_bands
from jukejax.ops.turns import find_ranges, split_streams
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


HIGH, BASS, CHORDS = ("strokes", 900, 16_000), ("tones", 0, 160), ("tones", 160, 400)
LOW, REST = ("waveform", 0, 600), ("waveform", 600, 22_050)
# Frames of 32 samples at level 0, and of 512 at level 1.
TURNS = dataclasses.replace(
    CONFIG,
    downs=(3, 2),
    strides=(2, 4),
    frames=dataclasses.replace(
        CONFIG.frames, turns=((LOW, LOW, REST, REST), (HIGH, BASS, HIGH, CHORDS))
    ),
)


SYNTHESIS = dataclasses.replace(TURNS, frames=dataclasses.replace(TURNS.frames, synthesis=True))


def draw_weights(config):
    """Returns weights in the form of a bundle, with random codebooks."""
    audio = jnp.zeros((1, config.unit, 1))
    shapes = nn.meta.unbox(jax.eval_shape(VQVAE(config).init, jax.random.key(0), audio))
    params = jax.jit(lambda key: init_params(shapes["params"], key))(jax.random.key(1))
    books = {}
    for name in shapes["codebook"]:
        book = quantize.empty_codebook(config.codebook_size, config.emb_dim)._asdict()
        book["codebook"] = 0.3 * jax.random.normal(jax.random.key(len(name)), (16, 6))
        books[name] = book
    return jax.tree.map(np.asarray, {"params": params, "extra": books})


@pytest.fixture(scope="module")
def weights():
    return draw_weights(CONFIG)


@pytest.fixture(scope="module")
def turn_weights():
    return draw_weights(TURNS)


@pytest.fixture(scope="module")
def synthesis_weights():
    return draw_weights(SYNTHESIS)


def draw_audio(length, channels=1):
    return np.random.default_rng(0).normal(0, 0.3, (2, length, channels)).astype(np.float32)


def test_levels_have_their_rates(weights):
    variables = {"params": weights["params"], "codebook": weights["extra"]}
    output = jax.jit(VQVAE(CONFIG).apply)(variables, draw_audio(256))
    assert [x.shape for x in output.audio] == [(2, 256, 1)] * 2
    assert [x.shape for x in output.features] == [(2, 64, 6), (2, 16, 6)]
    assert output.audio[0].dtype == jnp.float32


def encoder_gradients(model, audio, choose):
    """Returns the largest gradient of each level's encoder for a sum of chosen outputs."""
    params = nn.meta.unbox(jax.jit(model.init)(jax.random.key(0), audio))["params"]

    def sum_outputs(params):
        return jnp.sum(jnp.square(choose(model.apply({"params": params}, audio))))

    grads = jax.jit(jax.grad(sum_outputs))(params)
    return [
        max(float(jnp.abs(x).max()) for x in jax.tree.leaves(grads[f"encoders_{level}"]))
        for level in range(2)
    ]


def test_spectral_levels_learn_from_spectra_alone():
    """The decoder of such a level has no influence on its encoder, that of the others has."""
    model = VQVAE(dataclasses.replace(TURNS, bottleneck="none"))
    audio = draw_audio(2048)
    assert encoder_gradients(model, audio, lambda output: output.audio[0])[0] > 0
    assert encoder_gradients(model, audio, lambda output: output.audio[1]) == [0, 0]
    predicted = encoder_gradients(model, audio, lambda output: output.spectra[1][0][1])
    assert predicted[0] == 0 < predicted[1]


def test_a_synthesized_level_has_no_decoder_and_no_gradients(synthesis_weights):
    assert "decoders_0" in synthesis_weights["params"]
    assert "decoders_1" not in synthesis_weights["params"]
    model, audio = VQVAE(dataclasses.replace(SYNTHESIS, bottleneck="none")), draw_audio(2048)
    params = nn.meta.unbox(jax.jit(model.init)(jax.random.key(0), audio))["params"]

    def sum_outputs(params):
        return jnp.sum(jnp.square(model.apply({"params": params}, audio).audio[1]))

    value, grads = jax.jit(jax.value_and_grad(sum_outputs))(params)
    assert value > 0
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(grads)) == 0


def test_spectra_are_predicted_for_every_stream():
    output = jax.jit(VQVAE(TURNS).init_with_output)(jax.random.key(0), draw_audio(2048))[0]
    shapes = [tuple(x.shape for x in pair) for pair in output.spectra[1]]
    strokes = count_bands("strokes", 900, 16_000)
    assert shapes == [((2, 16, strokes),) * 2, *(((2, 4, n),) * 2 for n in (25, 16))]


def test_a_code_hears_its_band_only(turn_weights):
    variables = {"params": turn_weights["params"], "codebook": turn_weights["extra"]}
    time = np.arange(4096) / 44_100
    low, high = (0.3 * np.sin(2 * np.pi * f * time) for f in (100.0, 5000.0))
    encode = jax.jit(lambda x: VQVAE(TURNS).apply(variables, x, method="encode"))
    silent, with_high, both = (
        encode(jnp.asarray(x[None, :, None], jnp.float32)) for x in (0 * low, high, low + high)
    )
    middle = slice(16, -16)
    # Level 0: a frame begins with two codes of the band under 600 Hz.
    np.testing.assert_array_equal(with_high[0][0, middle][::4], silent[0][0, middle][::4])
    assert (both[0][0, middle][::4] != silent[0][0, middle][::4]).any()
    assert (with_high[0][0, middle][3::4] != silent[0][0, middle][3::4]).any()


def test_every_stream_has_its_part_of_the_codebook(turn_weights):
    variables = {"params": turn_weights["params"], "codebook": turn_weights["extra"]}
    codes = VQVAE(TURNS).apply(variables, draw_audio(4096), method="encode")[1]
    streams = TURNS.streams(1)
    ranges = find_ranges(streams, TURNS.codebook_size)
    for part, (start, end) in zip(split_streams(codes, streams), ranges, strict=True):
        assert start <= int(part.min()) <= int(part.max()) < end


def test_restarted_codes_belong_to_their_stream():
    quantizer = Quantizer(16, 6, 0.99, 1.0, TURNS.streams(1))
    place = jnp.tile(jnp.arange(4.0)[:, None], (8, 6))[None]  # each row tells its place in a frame
    state = quantizer.init(jax.random.key(0), place, train=False)
    keys = {"codebook": jax.random.key(1)}
    _, state = quantizer.apply(state, place, train=True, rngs=keys, mutable=["codebook"])
    places = np.rint(np.asarray(state["codebook"]["codebook"])[:, 0]).astype(int)
    # Places 0 and 2 are high strokes; 1 and 3 are basses and chords.
    assert set(places[:8]) == {0, 2}
    assert places[8:].tolist() == [1] * 4 + [3] * 4


def test_stereo_is_encoded_and_decoded():
    config = dataclasses.replace(CONFIG, channels=2, bottleneck="none")
    model = VQVAE(config)
    output, variables = jax.jit(model.init_with_output)(jax.random.key(0), draw_audio(256, 2))
    assert output.audio[1].shape == (2, 256, 2)
    kernel = variables["params"]["encoders_1"]["frames"]["in"]["kernel"]
    assert nn.meta.unbox(kernel).shape == (1, 4 * 16 * 2, 12)


@pytest.mark.parametrize("name", ["plain", "turns", "synthesis"])
def test_windows_give_the_codes_and_the_audio_of_a_single_pass(
    name, weights, turn_weights, synthesis_weights
):
    """The context that the codec leaves around a window covers what a code depends on."""
    config, state = {
        "plain": (CONFIG, weights),
        "turns": (TURNS, turn_weights),
        "synthesis": (SYNTHESIS, synthesis_weights),
    }[name]
    codec = Codec({"config": to_plain(config), "sample_rate": 1000}, state)
    audio = draw_audio(2 * codec._window + 9 * config.hops[-1])[0]
    codes = codec.encode(audio)
    variables = jax.tree.map(jnp.asarray, {"params": state["params"], "codebook": state["extra"]})
    whole = jax.jit(lambda x: VQVAE(config).apply(variables, x, method="encode"))(audio[None])
    for level, expected in zip(codes, whole, strict=True):
        np.testing.assert_array_equal(level, expected[0])
    for level in range(2):
        decode = jax.jit(lambda x, k=level: VQVAE(config).apply(variables, x, k, method="decode"))
        expected = decode(codes[level][None])[0]
        np.testing.assert_allclose(codec.decode(codes[level], level), expected, atol=1e-5)
        hop = config.hops[level]
        part = codec.decode_range(codes[level], level, 101, 149)
        np.testing.assert_allclose(part, expected[101 * hop : 149 * hop], atol=1e-5)


def use_features_as_codes(config, weights):
    """Returns weights whose codes of level 0 are features of a sound of level 1."""
    variables = {"params": weights["params"], "codebook": weights["extra"]}
    upper = np.random.default_rng(0).integers(0, 16, (1, 64))
    sound = VQVAE(config).apply(variables, upper, 1, method="decode")
    (features,) = VQVAE(config).apply(variables, sound, 0, 1, method="compute_features")
    frames = np.asarray(features).reshape(-1, 4, 6)
    rows = np.concatenate(
        [frames[::64, :2].reshape(-1, 6)[:8], frames[::64, 2:].reshape(-1, 6)[:8]]
    )
    books = dict(weights["extra"])
    books["codebooks_0"] = dict(books["codebooks_0"], codebook=rows)
    return {"params": weights["params"], "extra": books}


@pytest.mark.parametrize(
    ("config", "has_sound"), [(TURNS, False), (SYNTHESIS, False), (SYNTHESIS, True)]
)
def test_windows_give_the_reference_of_a_single_pass(
    config, has_sound, turn_weights, synthesis_weights
):
    weights = use_features_as_codes(config, turn_weights if config == TURNS else synthesis_weights)
    codec = Codec({"config": to_plain(config), "sample_rate": 1000}, weights)
    variables = {"params": weights["params"], "codebook": weights["extra"]}
    length = 5 * codec._window // config.unit * config.unit
    audio, upper_hop = draw_audio(length)[:1], config.hops[1]
    upper = np.random.default_rng(1).integers(0, 16, length // upper_hop).astype(np.int32)
    sound = ArraySound(audio[0, :, 0]) if has_sound else None
    codes = codec.encode_reference(upper, 0, sound)
    apply = jax.jit(functools.partial(VQVAE(config).apply, method="encode_reference", level=0))
    whole = apply(variables, upper[None], audio=audio if has_sound else None)[0]
    assert len(np.unique(whole)) > 4
    np.testing.assert_array_equal(codes, whole)
    cut = codec.encode_reference(upper[:-1], 0, sound)
    assert len(cut) == len(codes) - upper_hop // config.hops[0]


def test_the_top_level_has_no_reference(turn_weights):
    codec = Codec({"config": to_plain(TURNS), "sample_rate": 1000}, turn_weights)
    with pytest.raises(ValueError, match="level 1 has no reference: levels 0 to 0 have one"):
        codec.encode_reference(np.zeros(64, np.int32), 1)


@pytest.mark.parametrize("config", [CONFIG, TURNS, SYNTHESIS])
def test_the_shape_survives_json(config):
    assert freeze(VQVAEConfig, to_plain(config)) == config


def test_every_level_needs_its_width():
    with pytest.raises(ValueError, match=r"frames.depths \(1,\) must have one entry for each of"):
        dataclasses.replace(CONFIG, frames=dataclasses.replace(CONFIG.frames, depths=(1,)))


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        (((),), "frames.turns must have one entry for each of the 2 levels, not 1"),
        (((), (("noise", 0, 9),)), r"have the kinds \['noise'\]: take"),
        (((), (BASS, ("waveform", 0, 9))), r"have the kinds \['tones', 'waveform'\]: take"),
        (((), (BASS, CHORDS)), "describes 32 samples, which must be a multiple of 512"),
        (((("waveform", 9, 9),), ()), "the edges of .* must rise"),
        (((("waveform", 0, 9),) * 2 + (("waveform", 9, 10),), ()), "comes 2 times, which does not"),
    ],
)
def test_turns_that_cannot_be_described_are_refused(turns, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, frames=dataclasses.replace(CONFIG.frames, turns=turns))


def test_the_unit_is_the_longest_frame():
    assert CONFIG.unit == 16
    assert TURNS.unit == 512


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
