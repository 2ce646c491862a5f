"""Model FLOPs of one training example, from the frozen configs alone: the numerator of an MFU.

A product of [M, K] and [K, N] is 2 M K N operations. Counted are the products, convolutions and
Fourier transforms that the model asks for; not elementwise work, nor what is computed twice to save
memory (remat), nor the optimizer. Attention counts each query with every key of its block or
column, masked or not, as in PaLM's figures (Chowdhery et al. 2022, appendix B). The backward pass
costs twice the forward pass: each product has a gradient to either side.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jukejax.models.conditioners import CodeConditionerConfig, LyricsKind
from jukejax.models.prior import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.models.vqvae import VQVAEConfig
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.stft import STFT


class Work(NamedTuple):
    """FLOPs of a part of a model, for one example."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """The FLOPs of both passes."""
        return self.forward + self.backward


def _trained(forward: float) -> Work:
    return Work(forward, 2 * forward)


def sum_parts(parts: Mapping[str, Work]) -> float:
    """Sums the FLOPs of a training step on one example over all parts."""
    return sum(part.total for part in parts.values())


def compute_mfu(
    example_flops: float, examples_per_s: float, peak_flops: float, devices: int
) -> float:
    """Computes the model FLOPs utilization: the share of the devices' peak spent in the model.

    Args:
      example_flops: of a training step, for one example (`total`).
      examples_per_s: of all devices together.
      peak_flops: FLOP/s of one device.
      devices: how many train.
    """
    return example_flops * examples_per_s / (peak_flops * devices)


def count_prior(config: PriorConfig) -> dict[str, Work]:
    """Counts the FLOPs of a prior or an upsampler, for one window.

    Returns:
      "layers" (projections and MLPs), "attention" (queries with keys, probabilities with values),
      "logits", and where there are such parts "upper" (conditioner on the level above) and "lyrics"
      (their encoder and its own predictions; lyrics in the sequence count with the layers).
    """
    model = config.autoregressive
    stack = model.transformer
    parts = {
        "layers": _layers(stack),
        "attention": _attention(stack),
        "logits": 2.0 * stack.seq_len * stack.emb_dim * model.vocab_size,
    }
    if config.upper is not None:
        parts["upper"] = _conditioner(config.upper, config.seq_len, stack.emb_dim)
    if config.lyrics is not None and config.lyrics.kind == LyricsKind.SEPARATE:
        encoder = config.lyrics.encoder
        assert encoder is not None
        ends = (encoder.emb_dim + config.lyrics.vocab_size) * stack.emb_dim
        parts["lyrics"] = _layers(encoder) + _attention(encoder) + 2.0 * encoder.seq_len * ends
    return {name: _trained(forward) for name, forward in parts.items()}


def _layers(config: TransformerConfig) -> float:
    """Counts products with weights in all layers of a stack."""
    emb, inner, hidden = config.emb_dim, config.attn_dim, config.mlp_dim
    mlp = 2 * emb * hidden
    macs = 0.0
    for kind in config.pattern:
        if kind == AttentionKind.ENCODER_DECODER:
            macs += config.seq_len * (2 * emb * inner + mlp) + config.encoder_len * emb * 2 * inner
        else:
            macs += config.seq_len * (4 * emb * inner + mlp)
    return 2 * macs


def _attention(config: TransformerConfig) -> float:
    """Counts products of queries and keys, and of probabilities and values, in all layers."""
    grid = config.grid
    keys = {
        AttentionKind.DENSE: config.seq_len,
        AttentionKind.BLOCK: grid.block_len,
        AttentionKind.TRANSPOSED_BLOCK: grid.num_rows,
        AttentionKind.PREVIOUS_BLOCK: grid.block_len,
        AttentionKind.SUMMARY: grid.num_rows,
        AttentionKind.SUMMARY_SPREAD: grid.num_rows * grid.spread,
        AttentionKind.ENCODER_DECODER: config.encoder_len,
        AttentionKind.PRIME: grid.prime_len,
    }
    visible = sum(keys[kind] for kind in config.pattern)
    return 2.0 * 2 * config.seq_len * visible * config.attn_dim


def _conditioner(config: CodeConditionerConfig, seq_len: int, features: int) -> float:
    """Counts the FLOPs of upsampling the codes above for a window of `seq_len` codes."""
    stack = _stack_macs(config.width, config.depth, config.m_conv)
    block = _ConvBlock(config.width, features, config.downs, config.stride, stack)
    positions = seq_len // config.ratio
    return 2.0 * _decoder_macs(block, positions=positions, channels=features)


def _stack_macs(width: int, depth: int, m_conv: float) -> float:
    """Counts the multiplications of a residual stack at one position."""
    hidden = int(m_conv * width)
    return depth * (3 * width * hidden + hidden * width)


class _ConvBlock(NamedTuple):
    """Sizes of an `EncoderBlock` or `DecoderBlock`; `stack`: of `_stack_macs`."""

    width: int
    features: int
    downs: int
    stride: int
    stack: float


def _encoder_macs(block: _ConvBlock, *, positions: int, channels: int) -> float:
    """Counts multiplications of an `EncoderBlock` from `channels` to the block's features."""
    width, features, downs, stride, stack = block
    macs = 0.0
    for _ in range(downs):
        positions //= stride
        macs += positions * (2 * stride * channels * width + stack)
        channels = width
    return macs + positions * 3 * channels * features if downs else 0.0


def _decoder_macs(block: _ConvBlock, *, positions: int, channels: int) -> float:
    """Counts multiplications of a `DecoderBlock` from `channels` to the block's features."""
    width, features, downs, stride, stack = block
    if not downs:
        return 0.0
    macs = float(positions * 3 * channels * width)
    for i in range(downs):
        out_features = features if i == downs - 1 else width
        macs += positions * (stack + 2 * stride * width * out_features)
        positions *= stride
    return macs


def count_vqvae(config: VQVAEConfig, window: int, stfts: Sequence[STFT] = ()) -> dict[str, Work]:
    """Counts the FLOPs of a VQ-VAE, for one window of `window` samples.

    Args:
      stfts: the spectrograms in its loss, for each level.

    Returns:
      "encoders", "decoders", "codebooks" (distances to all codes, which have no gradient) and
      "spectra".
    """
    encoders = decoders = codebooks = 0.0
    for level, hop in enumerate(config.hops):
        multiplier = config.multipliers[level]
        width = multiplier * config.width
        stack = _stack_macs(width, multiplier * config.depth, config.m_conv)
        positions, channels = window, config.channels
        for downs, stride in zip(config.downs[: level + 1], config.strides, strict=False):
            block = _ConvBlock(width, config.emb_dim, downs, stride, stack)
            encoders += _encoder_macs(block, positions=positions, channels=channels)
            positions, channels = positions // stride**downs, config.emb_dim
            decoders += _decoder_macs(block, positions=positions, channels=channels)
        decoders += window * 3 * config.emb_dim * config.channels
        codebooks += window // hop * config.emb_dim * config.codebook_size
    parts = {"encoders": _trained(2 * encoders), "decoders": _trained(2 * decoders)}
    if config.bottleneck:
        parts["codebooks"] = Work(2 * codebooks, 0.0)
    if stfts:
        # Of the target and of the output; only the output's has a gradient.
        spectra = config.levels * sum(_transform(stft, window) for stft in stfts)
        parts["spectra"] = Work(2 * spectra, spectra)
    return parts


def _transform(stft: STFT, samples: int) -> float:
    """Counts a spectrogram of real audio, 2.5 n log2 n a frame (radix 2, half of a complex one)."""
    frames = samples // stft.hop + 1
    return frames * 2.5 * stft.n_fft * math.log2(stft.n_fft)
