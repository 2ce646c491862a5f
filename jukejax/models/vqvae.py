"""The hierarchical VQ-VAE (Jukebox, section 3): audio to codes at several rates, and back.

Every level has its own encoder and decoder, from and to raw audio; level 0 is the finest. Audio is
[B, T, channels], features are [B, T / hop, emb_dim], codes int32 [B, T / hop]. Learnt parameters
are in the collection "params", codebooks and their moving averages in "codebook".
"""

import math
from dataclasses import dataclass

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jukejax.models.layers import Conv, DecoderBlock, EncoderBlock
from jukejax.ops import quantize
from jukejax.ops.quantize import Codebook, Quantised


@dataclass(frozen=True)
class VQVAEConfig:
    """The shape of a VQ-VAE; the defaults are those of the released model.

    Attributes:
      downs: strided convolutions that each level adds to those of the levels below it.
      strides: stride of the convolutions that each level adds, even numbers.
      emb_dim: features of a code.
      codebook_size: codes of each level.
      width: channels of the convolutions.
      depth: residual blocks behind each strided convolution.
      multipliers: each level's width and depth as multiples of `width` and `depth`.
      m_conv: hidden channels of a residual block as a multiple of its channels.
      dilation_growth_rate: dilations are its powers 0, 1, 2, ...
      dilation_cycle: they start again after so many blocks; None: never.
      reverse_decoder_dilation: decoders take the largest dilation first.
      res_scale: divide residual branches by the square root of their number.
      zero_out: residual branches start at zero.
      remat: recompute residual blocks in the backward pass: less memory, more time.
      ema_decay: of the codebooks' moving averages; 1.0 freezes them at their initialisation.
      restart_threshold: codes used less than so many times a batch on average start anew.
      bottleneck: False lets features pass unquantised (to see what the codes cost).
      channels: of the audio.
    """

    downs: tuple[int, ...] = (3, 2, 2)
    strides: tuple[int, ...] = (2, 2, 2)
    emb_dim: int = 64
    codebook_size: int = 2048
    width: int = 32
    depth: int = 4
    multipliers: tuple[int, ...] = (2, 1, 1)
    m_conv: float = 1.0
    dilation_growth_rate: int = 3
    dilation_cycle: int | None = None
    reverse_decoder_dilation: bool = True
    res_scale: bool = False
    zero_out: bool = False
    remat: bool = False
    ema_decay: float = 0.99
    restart_threshold: float = 1.0
    bottleneck: bool = True
    channels: int = 1

    def __post_init__(self):
        if not len(self.downs) == len(self.strides) == len(self.multipliers):
            raise ValueError(
                f"downs {self.downs}, strides {self.strides} and multipliers {self.multipliers} "
                "must have one entry for each level"
            )
        odd = [stride for stride in self.strides if stride < 2 or stride % 2]
        if odd:
            raise ValueError(f"strides {self.strides}: {odd[0]} is not an even number (2, 4, ...)")
        if self.downs[0] < 1:
            raise ValueError(f"downs {self.downs}: level 0 needs at least one strided convolution")
        if not 0.0 <= self.ema_decay <= 1.0:
            raise ValueError(f"ema_decay {self.ema_decay} is outside [0, 1]")

    @property
    def levels(self) -> int:
        return len(self.downs)

    @property
    def hops(self) -> tuple[int, ...]:
        """Samples of audio for each code, by level."""
        ratios = [stride**downs for stride, downs in zip(self.strides, self.downs, strict=True)]
        return tuple(math.prod(ratios[: level + 1]) for level in range(self.levels))


@flax.struct.dataclass
class VQVAEOutput:
    """A forward pass; every field is a tuple over the levels.

    Attributes:
      audio: float32 [B, T, channels], each level decoded alone.
      features: [B, T / hop, emb_dim], the encoders' outputs before they are quantised.
      quantised: codes and quantisation errors (see `Quantised`); None without a bottleneck.
      metrics: of the codebook update when training (see `quantize.update`), otherwise empty.
    """

    audio: tuple[jax.Array, ...]
    features: tuple[jax.Array, ...]
    quantised: tuple[Quantised, ...] | None
    metrics: tuple[dict[str, jax.Array], ...]


def _block_fields(config: VQVAEConfig, level: int, block: int) -> dict:
    """Fields that the encoder's and the decoder's block number `block` of a level share."""
    multiplier = config.multipliers[level]
    return {
        "width": multiplier * config.width,
        "out_features": config.emb_dim,
        "downs": config.downs[block],
        "stride": config.strides[block],
        "depth": multiplier * config.depth,
        "m_conv": config.m_conv,
        "dilation_growth_rate": config.dilation_growth_rate,
        "dilation_cycle": config.dilation_cycle,
        "res_scale": config.res_scale,
        "zero_out": config.zero_out,
        "remat": config.remat,
    }


class Encoder(nn.Module):
    """Audio to one level's features."""

    config: VQVAEConfig
    level: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.level + 1):
            x = EncoderBlock(
                **_block_fields(self.config, self.level, i),
                in_features=self.config.emb_dim if i else self.config.channels,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x)
        return x.astype(jnp.float32)


class Decoder(nn.Module):
    """One level's features to audio; blocks are numbered as the encoder's and run backwards."""

    config: VQVAEConfig
    level: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in reversed(range(self.level + 1)):
            x = DecoderBlock(
                **_block_fields(self.config, self.level, i),
                in_features=self.config.emb_dim,
                reverse_dilation=self.config.reverse_decoder_dilation,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x)
        return Conv(self.config.channels, dtype=self.dtype, name="out")(x).astype(jnp.float32)


class Quantiser(nn.Module):
    """One level's codebook: variables of the collection "codebook", and how they learn."""

    num_codes: int
    emb_dim: int
    decay: float
    threshold: float

    def setup(self):
        start = quantize.empty(self.num_codes, self.emb_dim)
        self.state = Codebook(
            *(
                self.variable("codebook", name, lambda value=value: value)
                for name, value in start._asdict().items()
            )
        )

    def read(self) -> Codebook:
        return Codebook(*(variable.value for variable in self.state))

    def __call__(
        self, features: jax.Array, *, train: bool
    ) -> tuple[Quantised, dict[str, jax.Array]]:
        """Quantises [B, T, E]; when training, starts or moves the codebook on the way.

        The batch is quantised with the codebook from before the move. Training draws from the
        random stream "codebook".
        """
        part = not self.is_mutable_collection("codebook")  # of a batch: see `start` and `move`
        if part or not train:
            return quantize.quantise(features, self.read().codebook), {}
        keys = jax.random.split(self.make_rng("codebook"))
        self._start(features, keys[0])
        quantised = quantize.quantise(features, self.read().codebook)
        return quantised, self._move(features, quantised.codes, keys[1])

    def start(self, features: jax.Array) -> None:
        """Starts the codebook from a whole batch [B, T, E], if it was not."""
        self._start(features, jax.random.split(self.make_rng("codebook"))[0])

    def move(self, features: jax.Array, codes: jax.Array) -> dict[str, jax.Array]:
        """Moves the codebook by a whole batch [B, T, E] and the codes that it chose [B, T]."""
        return self._move(features, codes, jax.random.split(self.make_rng("codebook"))[1])

    def _pick(self, features: jax.Array, key: jax.Array) -> jax.Array:
        rows = self._rows(features)
        drawn = quantize.draw(key, len(rows), self.num_codes, self.emb_dim)
        return quantize.candidates(rows, self.num_codes, drawn)

    def _start(self, features: jax.Array, key: jax.Array) -> None:
        state = self.read()
        self._write(
            lax.cond(
                state.initialised,
                lambda: state,
                lambda: quantize.initialise(self._pick(features, key)),
            )
        )

    def _move(self, features: jax.Array, codes: jax.Array, key: jax.Array):
        state, metrics = quantize.update(
            self.read(),
            self._rows(features),
            codes.reshape(-1),
            self._pick(features, key),
            decay=self.decay,
            threshold=self.threshold,
        )
        self._write(state)
        return metrics

    def _rows(self, features: jax.Array) -> jax.Array:
        return lax.stop_gradient(features).reshape(-1, self.emb_dim)

    def _write(self, state: Codebook) -> None:
        for variable, value in zip(self.state, state, strict=True):
            variable.value = value


class VQVAE(nn.Module):
    """Encoders, codebooks and decoders of all levels."""

    config: VQVAEConfig
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        config, levels = self.config, range(self.config.levels)
        self.encoders = [Encoder(config, level, self.dtype) for level in levels]
        self.decoders = [Decoder(config, level, self.dtype) for level in levels]
        if config.bottleneck:
            self.codebooks = [
                Quantiser(
                    config.codebook_size, config.emb_dim, config.ema_decay, config.restart_threshold
                )
                for _ in levels
            ]

    def __call__(self, audio: jax.Array, *, train: bool = False) -> VQVAEOutput:
        """Encodes, quantises and decodes every level. [B, T, channels] with T a multiple of hops.

        Training (`train`) updates the collection "codebook" and needs the random stream "codebook".
        """
        self._check(audio)
        if audio.shape[1] % self.config.hops[-1]:
            raise ValueError(
                f"windows of {audio.shape[1]} samples are no multiple of the top level's "
                f"{self.config.hops[-1]} samples a code"
            )
        outputs, quantised, metrics = [], [], []
        encoded = self.features(audio)
        for level, features in enumerate(encoded):
            if self.config.bottleneck:
                result, moved = self.codebooks[level](features, train=train)
                features = result.vectors
                quantised.append(result)
                metrics.append(moved)
            outputs.append(self.decoders[level](features))
        return VQVAEOutput(
            audio=tuple(outputs),
            features=encoded,
            quantised=tuple(quantised) if self.config.bottleneck else None,
            metrics=tuple(metrics),
        )

    def start_codebooks(self, features: tuple[jax.Array, ...]) -> None:
        """Starts the codebooks that are empty from a whole batch's features, by level."""
        for codebook, rows in zip(self.codebooks, features, strict=True):
            codebook.start(rows)

    def move_codebooks(
        self, features: tuple[jax.Array, ...], codes: tuple[jax.Array, ...]
    ) -> tuple[dict[str, jax.Array], ...]:
        """Moves the codebooks by a whole batch, as `__call__` does when it sees it in one piece."""
        levels = zip(self.codebooks, features, codes, strict=True)
        return tuple(codebook.move(rows, chosen) for codebook, rows, chosen in levels)

    def features(
        self, audio: jax.Array, start_level: int = 0, end_level: int | None = None
    ) -> tuple[jax.Array, ...]:
        """Encoder outputs of the levels [start_level, end_level), before quantisation."""
        self._check(audio)
        return tuple(encoder(audio) for encoder in self.encoders[start_level:end_level])

    def encode(
        self, audio: jax.Array, start_level: int = 0, end_level: int | None = None
    ) -> tuple[jax.Array, ...]:
        """Codes of the levels [start_level, end_level), int32 [B, T // hop] each.

        Without a bottleneck there are no codes: the features themselves come back.
        """
        features = self.features(audio, start_level, end_level)
        if not self.config.bottleneck:
            return features
        codebooks = self.codebooks[start_level:end_level]
        return tuple(
            quantize.nearest(x, codebook.read().codebook)[0]
            for x, codebook in zip(features, codebooks, strict=True)
        )

    def decode(self, codes: jax.Array, level: int = 0) -> jax.Array:
        """One level's codes [B, T] to audio [B, T * hop, channels]."""
        if not 0 <= level < self.config.levels:
            raise ValueError(f"level {level} is not one of the {self.config.levels} levels")
        if self.config.bottleneck:
            codes = quantize.lookup(codes, self.codebooks[level].read().codebook)
        return self.decoders[level](codes)

    def _check(self, audio: jax.Array) -> None:
        if audio.ndim != 3 or audio.shape[-1] != self.config.channels:
            raise ValueError(
                f"audio must be [batch, time, {self.config.channels}], not {audio.shape}"
            )
        if audio.shape[1] < self.config.hops[-1]:
            raise ValueError(
                f"{audio.shape[1]} samples are less than one code of the top level: give at least "
                f"{self.config.hops[-1]}"
            )
