"""Model FLOPs of a training example, computed from the frozen configs: the numerator of the MFU.

A product of [M, K] and [K, N] has 2 M K N operations. The matrix products, convolutions and Fourier
transforms of the model are counted, but not elementwise operations, recomputation (remat) or the
optimizer. Attention counts each query with every key of its block or column, masked or not, as in
PaLM's figures (Chowdhery et al. 2022, appendix B). The backward pass costs twice the forward pass:
each product has a gradient for both operands.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jukejax.models.conditioners import (
    REFERENCE_DEPTH,
    REFERENCE_TAPS,
    CodeConditionerConfig,
    LyricsKind,
)
from jukejax.models.frames import FrameConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import bands
from jukejax.ops.attention.kinds import AttentionKind, count_keys
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
      devices: number of devices.
    """
    return example_flops * examples_per_s / (peak_flops * devices)


def count_prior(config: PriorConfig) -> dict[str, Work]:
    """Counts the FLOPs of a prior or an upsampler, for one window.

    Returns:
      "layers" (projections and MLPs), "attention" (queries with keys, probabilities with values),
      "logits", and where there are such parts "upper" (conditioner on the level above) and "lyrics"
      (their encoder and its own predictions; lyrics in the sequence count with the layers) and
      "lookback".
    """
    model = config.autoregressive
    stack = model.transformer
    parts = {
        "layers": _count_layer_flops(stack),
        "attention": _count_attention_flops(stack),
        "logits": 2.0 * stack.seq_len * stack.emb_dim * model.vocab_size,
    }
    if model.lookback:
        parts["lookback"] = 2.0 * len(model.lookback) * stack.seq_len * stack.emb_dim**2
    if config.upper is not None:
        parts["upper"] = _count_conditioner_flops(config.upper, config.seq_len, stack.emb_dim)
    if config.lyrics is not None and config.lyrics.kind == LyricsKind.SEPARATE:
        encoder = config.lyrics.encoder
        assert encoder is not None
        end_macs = (encoder.emb_dim + config.lyrics.vocab_size) * stack.emb_dim
        parts["lyrics"] = (
            _count_layer_flops(encoder)
            + _count_attention_flops(encoder)
            + 2.0 * encoder.seq_len * end_macs
        )
    return {name: _trained(forward) for name, forward in parts.items()}


def _count_layer_flops(config: TransformerConfig) -> float:
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


def _count_attention_flops(config: TransformerConfig) -> float:
    """Counts products of queries and keys, and of probabilities and values, in all layers."""
    visible = sum(count_keys(kind, config.grid, config.encoder_len) for kind in config.pattern)
    return 2.0 * 2 * config.seq_len * visible * config.attn_dim


def _count_conditioner_flops(config: CodeConditionerConfig, seq_len: int, features: int) -> float:
    """Counts the FLOPs of the conditioner on the level above, for `seq_len` codes."""
    stack = _count_stack_macs(config.width, config.depth, config.m_conv)
    block = _ConvBlock(config.width, features, config.downs, config.stride, stack)
    positions = seq_len // config.ratio
    macs = _count_decoder_macs(block, positions=positions, channels=features)
    if config.reference:
        width = config.width
        taps = REFERENCE_TAPS * width * width
        stack = _count_stack_macs(width, REFERENCE_DEPTH, m_conv=1.0)
        macs += seq_len * (taps + stack + width * features)
    return 2.0 * macs


def _count_stack_macs(width: int, depth: int, m_conv: float) -> float:
    """Counts the multiplications of a residual stack at one position."""
    hidden = int(m_conv * width)
    return depth * (3 * width * hidden + hidden * width)


class _ConvBlock(NamedTuple):
    """Sizes of an `EncoderBlock` or `DecoderBlock`; `stack`: of `_count_stack_macs`."""

    width: int
    features: int
    downs: int
    stride: int
    stack: float


def _count_encoder_macs(block: _ConvBlock, *, positions: int, channels: int) -> float:
    """Counts multiplications of an `EncoderBlock` from `channels` to the block's features."""
    width, features, downs, stride, stack = block
    macs = 0.0
    for _ in range(downs):
        positions //= stride
        macs += positions * (2 * stride * channels * width + stack)
        channels = width
    return macs + positions * 3 * channels * features if downs else 0.0


def _count_decoder_macs(block: _ConvBlock, *, positions: int, channels: int) -> float:
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
      "spectra"; for codes that take turns also "descriptions" and "spectrum_heads".
    """
    encoders = decoders = codebooks = spectra_heads = descriptions = 0.0
    for level, hop in enumerate(config.hops):
        if config.frames is not None:
            macs = _count_frame_macs(config, config.frames, level)
            encoders += window // hop * macs.encoder
            decoders += window // hop * macs.decoder
            spectra_heads += window // hop * macs.head
            descriptions += window // hop * macs.description
            codebooks += window // hop * macs.codebook
            continue
        codebooks += window // hop * config.emb_dim * config.codebook_size
        multiplier = config.multipliers[level]
        width = multiplier * config.width
        stack = _count_stack_macs(width, multiplier * config.depth, config.m_conv)
        positions, channels = window, config.channels
        for downs, stride in zip(config.downs[: level + 1], config.strides, strict=False):
            block = _ConvBlock(width, config.emb_dim, downs, stride, stack)
            encoders += _count_encoder_macs(block, positions=positions, channels=channels)
            positions, channels = positions // stride**downs, config.emb_dim
            decoders += _count_decoder_macs(block, positions=positions, channels=channels)
        decoders += window * 3 * config.emb_dim * config.channels
    parts = {"encoders": _trained(2 * encoders), "decoders": _trained(2 * decoders)}
    if descriptions:
        parts["descriptions"] = Work(2 * descriptions, 0.0)
    if spectra_heads:
        parts["spectrum_heads"] = _trained(2 * spectra_heads)
    if config.has_codes:
        parts["codebooks"] = Work(2 * codebooks, 0.0)
    if stfts:
        # Spectra of the target and of the output, of which only the output has a gradient.
        spectra = config.levels * sum(_count_stft_flops(stft, window) for stft in stfts)
        parts["spectra"] = Work(2 * spectra, spectra)
    return parts


class _FrameMacs(NamedTuple):
    """Multiplications for one code of a level of `models.frames`.

    Attributes:
      encoder, decoder: of the level.
      description: of the audio in bands (`ops.bands`), which has no gradient.
      head: of `SpectrumHeads`.
      codebook: of the distances to its codes.
    """

    encoder: float
    decoder: float
    description: float
    head: float
    codebook: float


def _count_frame_macs(config: VQVAEConfig, frames: FrameConfig, level: int) -> _FrameMacs:
    """Counts the multiplications of a level of `models.frames`."""
    hop, group = config.hops[level], frames.frame_codes(level)
    width, depth, emb = frames.widths[level], frames.depths[level], config.emb_dim
    stack = _count_stack_macs(width, depth, config.m_conv)
    ends = frames.span * hop * config.channels * width  # of the products with frames of audio
    decoder = (stack + 3 * width * group * emb) / group + ends
    if level in config.synthesized_levels:
        decoder = 0.0  # cosines and noise, which are not trained
    codebook = emb * config.codebook_size
    streams = frames.streams(level)
    if not streams:
        return _FrameMacs(stack + 3 * width * emb + ends, decoder, 0.0, 0.0, codebook)
    encoder = description = head = share_of_codes = 0.0
    shared: dict[str, float] = {}
    stack = _count_stack_macs(width // 2, frames.band_depth, config.m_conv)
    head_stack = _count_stack_macs(width // 2, 1, 1.0)
    for stream in streams:
        share, part = len(stream.positions) / group, hop * group // len(stream.positions)
        band = bands.measure_band(*stream.turn, hop=part, sample_rate=frames.sample_rate)
        encoder += share * (stack + width // 2 * (band.features + emb))
        description += share * band.macs
        shared[stream.turn[0]] = share * band.shared_macs
        share_of_codes += share * share  # a code is compared with its stream's part of the codebook
        if frames.is_spectral(level):
            head += share * (head_stack + width // 2 * (3 * emb + band.features))
    description += sum(shared.values())
    if frames.is_spectral(level):  # they are inputs, and targets
        description *= 2
    return _FrameMacs(encoder, decoder, description, head, share_of_codes * codebook)


def _count_stft_flops(stft: STFT, samples: int) -> float:
    """Counts the FLOPs of a real spectrogram: 2.5 n log2 n a frame (half of a complex radix 2)."""
    frames = samples // stft.hop + 1
    return frames * 2.5 * stft.n_fft * math.log2(stft.n_fft)
