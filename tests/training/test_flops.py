"""Model FLOPs against XLA's own count, against the published shapes, and by hand."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from jukejax.common.config import freeze
from jukejax.models.conditioners import CodeConditionerConfig, LyricsConfig
from jukejax.models.frames import FrameConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior import Prior
from jukejax.models.prior_config import PriorConfig
from jukejax.models.prior_losses import compute_losses
from jukejax.models.transformer_config import TransformerConfig
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import stft
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cpu.switch import disable_cpu_kernels
from jukejax.runtime.sharding import unbox
from jukejax.training import flops
from jukejax.training.tasks.vqvae_loss import Bandwidth, LossConfig, total_loss
from tests.integration.test_configs import load

LABELS = LabelConfig(num_artists=4, num_genres=4)


def xla_flops(function, *shapes) -> float:
    """What XLA counts in a program as it is written, before it is optimized; nothing is run."""
    with disable_cpu_kernels():  # XLA counts no custom call
        return jax.jit(function).lower(*shapes).cost_analysis()["flops"]


def ints(*shape) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def stack(**changes) -> TransformerConfig:
    """Wide enough that products outweigh elementwise work."""
    shape = {"emb_dim": 512, "num_layers": 3, "num_heads": 2, "seq_len": 512, "num_blocks": 16}
    return TransformerConfig(**shape | changes)


SEPARATE = LyricsConfig(
    "separate", num_tokens=64, vocab_size=80, encoder=stack(emb_dim=256, seq_len=64, num_blocks=4)
)
# Layers whose pattern does not repeat: XLA counts the body of a scan once.
PRIORS = {
    "block, column, previous row": {"transformer": stack(attn_order=2)},
    "dense": {"transformer": stack(attn_order=0, num_layers=1)},
    "summary": {"transformer": stack(attn_order=3, num_layers=2)},
    "spread": {"transformer": stack(attn_order=4, num_layers=2, num_blocks=32)},
    "lyrics in an encoder": {
        "transformer": stack(attn_order=6, num_layers=4),
        "labels": LABELS,
        "lyrics": SEPARATE,
        "merged_decoder": True,
    },
    "upsampler": {
        "transformer": stack(),
        "upper": CodeConditionerConfig(256, downs=2, stride=2, width=256, depth=4),
    },
    "upsampler with a reference": {
        "transformer": stack(),
        "upper": CodeConditionerConfig(256, downs=2, stride=2, width=256, depth=4, reference=True),
    },
}


def alternate(names):
    """Returns each name with either count; by default one of them, in turn."""
    return [
        pytest.param(
            name,
            backward,
            id=f"{name}-{'training' if backward else 'forward'}",
            marks=pytest.mark.slow if backward == (number % 2 == 0) else (),
        )
        for number, name in enumerate(names)
        for backward in (False, True)
    ]


@pytest.mark.parametrize(("name", "backward"), alternate(PRIORS))
def test_a_priors_flops_are_those_that_xla_counts(name, backward):
    config = PriorConfig(0, codebook_size=256, hop_length=8, **PRIORS[name])
    model = Prior(config)
    inputs = {"codes": ints(2, config.seq_len)}
    if config.upper is not None:
        inputs["upper_codes"] = ints(2, *config.upper.find_shape(config.seq_len))
    if config.labels is not None:
        inputs["labels"] = ints(2, config.label_width)
    params = unbox(jax.eval_shape(lambda key: model.init(key, **zeros(inputs)), key()))

    def loss(params, inputs):
        predictions = model.apply(params, **inputs, method=model.compute_predictions)
        return compute_losses(config, predictions, inputs["codes"], inputs.get("labels"))[0]

    counted = xla_flops(jax.grad(loss) if backward else loss, params, inputs)
    parts = flops.count_prior(config)
    ours = flops.sum_parts(parts) if backward else sum(part.forward for part in parts.values())
    assert 2 * ours == pytest.approx(counted, rel=0.1)


def zeros(inputs):
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), inputs)


def key():
    return jax.eval_shape(lambda: jax.random.key(0))


FRAMES = FrameConfig(widths=(128, 192), depths=(2, 3))
TURNS = FrameConfig(
    widths=(192, 256),
    depths=(3, 4),
    turns=(
        (("waveform", 0, 600), ("waveform", 600, 22_050)),
        (("tones", 0, 2300), ("strokes", 0, 16_000)),
    ),
)


@pytest.mark.parametrize("frames", [None, FRAMES, TURNS], ids=["blocks", "frames", "turns"])
@pytest.mark.parametrize(
    "backward",
    [pytest.param(False, id="forward", marks=pytest.mark.slow), pytest.param(True, id="training")],
)
def test_a_vqvaes_flops_are_those_that_xla_counts(backward, frames):
    config = VQVAEConfig(
        downs=(2, 3) if frames is TURNS else (2, 1),
        strides=(2, 4),
        multipliers=(2, 1),
        width=48,
        depth=2,
        frames=frames,
    )
    loss_config, window = LossConfig(), 4096
    model = VQVAE(config)
    audio = jax.ShapeDtypeStruct((2, window, 1), jnp.float32)
    shapes = unbox(
        jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, config.unit, 1))), key())
    )

    def loss(params, books, audio):
        output = model.apply({"params": params, "codebook": books}, audio)
        return total_loss(loss_config, Bandwidth(1.0, 1.0, 1.0), audio, output)[0]

    counted = xla_flops(
        jax.grad(loss) if backward else loss, shapes["params"], shapes["codebook"], audio
    )
    parts = flops.count_vqvae(config, window, loss_config.stfts)
    ours = flops.sum_parts(parts) if backward else sum(part.forward for part in parts.values())
    assert 2 * ours == pytest.approx(counted, rel=0.1)


# Forward FLOPs of the products with weights at one position, as OpenAI's code has them.
PUBLISHED = {
    "openai_released": {
        "upsampler0": 1.60e9,
        "upsampler1": 1.60e9,
        "1b_lyrics": 1.82e9,
        "5b": 9.97e9,
        "5b_lyrics": 10.8e9,
    },
    "openai_small": {
        "small_prior": 0.306e9,
        "small_upsampler": 0.304e9,
        "small_labelled_prior": 0.31e9,
    },
}


@pytest.mark.parametrize(
    ("name", "variant"), [(name, v) for name, known in PUBLISHED.items() for v in known]
)
def test_flops_of_a_position_are_those_of_the_published_shapes(name, variant):
    config = freeze(PriorConfig, load(name, variant).model.to_dict())
    parts = flops.count_prior(config)
    positions = config.autoregressive.transformer.seq_len
    ours = (parts["layers"].forward + parts["logits"].forward) / positions
    known = PUBLISHED[name][variant]
    digits = 2 if known == 0.31e9 else 3
    assert float(f"{ours:.{digits}g}") == known


def test_each_kind_of_attention_counts_the_keys_of_its_block():
    base = stack(num_layers=1, spread=4)
    config = dataclasses.replace(base, lyric_len=20, encoder_len=7)
    rows, columns = 16, 32
    keys = {0: 512, 1: columns, 2: rows, 3: columns, 4: rows, 5: 4 * rows, 6: 7, 7: 32}
    for kind, seen in keys.items():
        config.__dict__["pattern"] = (AttentionKind(kind),)
        expected = 2 * 2 * 512 * seen * 128
        assert flops._count_attention_flops(config) == expected, AttentionKind(kind).name


def test_a_spectrogram_costs_a_transform_for_each_frame():
    shape = stft.STFT(n_fft=1024, hop=100, window=600)
    parts = flops.count_vqvae(VQVAEConfig(), 12800, (shape,))
    one = 3 * 129 * 2.5 * 1024 * math.log2(1024)
    assert parts["spectra"] == (2 * one, one)


def test_mfu_is_the_share_of_all_devices_peak():
    assert flops.compute_mfu(
        6e9, examples_per_s=100.0, peak_flops=1e12, devices=2
    ) == pytest.approx(0.3)
