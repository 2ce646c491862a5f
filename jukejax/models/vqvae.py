"""The hierarchical VQ-VAE (Jukebox, section 3): codes of audio at several rates.

Every level has its own encoder and decoder, from and to raw audio; level 0 is the finest. Audio is
[B, T, channels], features are [B, T / hop, emb_dim], codes int32 [B, T / hop]. Learned parameters
are in the collection "params", codebooks and their moving averages in "codebook".
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jukejax.models.encoder_decoder import Decoder, Encoder
from jukejax.models.frames import SpectrumHeads
from jukejax.models.gaussian import GaussianBottleneck, Posterior
from jukejax.models.quantizer import Quantizer
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import quantize
from jukejax.ops.magnitude_matching import match_magnitudes
from jukejax.ops.quantize import Quantized
from jukejax.ops.synthesis import synthesize_references, synthesize_streams
from jukejax.ops.turns import pad_frames


class VQVAEOutput(NamedTuple):
    """A forward pass; the tuples are over the levels.

    Attributes:
      audio: float32 [B, T, channels], each level decoded alone.
      features: [B, T / hop, emb_dim], the encoders' outputs before they are quantized.
      quantized: codes and quantization errors (see `Quantized`); None without codes.
      metrics: of `quantize.update_codebook` when training, otherwise empty.
      spectra: {level: for each stream, its log magnitudes and those that its codes predict} of the
        spectral levels (see `SpectrumHeads`).
      posteriors: of a KL bottleneck; None with codes.
    """

    audio: tuple[jax.Array, ...]
    features: tuple[jax.Array, ...]
    quantized: tuple[Quantized, ...] | None
    metrics: tuple[dict[str, jax.Array], ...]
    spectra: dict[int, tuple[tuple[jax.Array, jax.Array], ...]]
    posteriors: tuple[Posterior, ...] | None = None


class VQVAE(nn.Module):
    """Encoders, codebooks and decoders of all levels (Jukebox, figure 1)."""

    config: VQVAEConfig
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        config, levels = self.config, range(self.config.levels)
        self.encoders = [Encoder(config, level, self.dtype) for level in levels]
        self.decoders = [
            None if level in config.synthesized_levels else Decoder(config, level, self.dtype)
            for level in levels
        ]
        self.spectrum_heads = [
            SpectrumHeads(
                config.hops[level],
                frames.turns[level],
                frames.widths[level] // 2,
                frames.sample_rate,
                self.dtype,
            )
            for frames in filter(None, [config.frames])
            for level in config.spectral_levels
        ]
        if config.bottleneck == "kl":
            self.posteriors = [GaussianBottleneck(config.emb_dim) for _ in levels]
        if config.has_codes:
            self.codebooks = [
                Quantizer(
                    config.codebook_size,
                    config.emb_dim,
                    config.ema_decay,
                    config.restart_threshold,
                    config.streams(level),
                )
                for level in levels
            ]

    def __call__(self, audio: jax.Array, *, train: bool = False) -> VQVAEOutput:
        """Encodes, quantizes and decodes every level. [B, T, channels] with T a multiple of hops.

        Training (`train`) updates the collection "codebook" and needs the random stream "codebook".
        """
        self._check(audio)
        if audio.shape[1] % self.config.unit:
            raise ValueError(
                f"windows of {audio.shape[1]} samples are no multiple of the top level's "
                f"{self.config.unit} samples a code"
            )
        outputs, quantized, metrics, spectra, posteriors = [], [], [], {}, []
        encoded = self.compute_features(audio)
        for level, features in enumerate(encoded):
            if self.config.bottleneck == "kl":
                posteriors.append(self.posteriors[level](features, train=train))
                features = posteriors[-1].latents
            if self.config.has_codes:
                result, codebook_metrics = self.codebooks[level](features, train=train)
                features = result.vectors
                quantized.append(result)
                metrics.append(codebook_metrics)
            if level in self.config.spectral_levels:
                head = self.spectrum_heads[self.config.spectral_levels.index(level)]
                spectra[level] = tuple(zip(head.describe(audio), head(features), strict=True))
                features = lax.stop_gradient(features)
            outputs.append(self._decode_features(features, level, 0))
        return VQVAEOutput(
            audio=tuple(outputs),
            features=encoded,
            quantized=tuple(quantized) if self.config.has_codes else None,
            metrics=tuple(metrics),
            spectra=spectra,
            posteriors=tuple(posteriors) or None,
        )

    def start_codebooks(self, features: tuple[jax.Array, ...]) -> None:
        """Initializes empty codebooks from the features of a global batch, by level."""
        for codebook, rows in zip(self.codebooks, features, strict=True):
            codebook.start_codebook(rows)

    def update_codebooks(
        self, features: tuple[jax.Array, ...], codes: tuple[jax.Array, ...]
    ) -> tuple[dict[str, jax.Array], ...]:
        """Updates the codebooks from a global batch that was computed in microbatches."""
        levels = zip(self.codebooks, features, codes, strict=True)
        return tuple(codebook.update_codebook(*batch) for codebook, *batch in levels)

    def compute_features(
        self, audio: jax.Array, start_level: int = 0, end_level: int | None = None
    ) -> tuple[jax.Array, ...]:
        """Computes encoder outputs of the levels [start_level, end_level), before quantization."""
        self._check(audio)
        return tuple(encoder(audio) for encoder in self.encoders[start_level:end_level])

    def encode(
        self, audio: jax.Array, start_level: int = 0, end_level: int | None = None
    ) -> tuple[jax.Array, ...]:
        """Computes codes of the levels [start_level, end_level), int32 [B, T // hop] each.

        Without codebooks there are no codes: latents or features [B, T // hop, E] are returned.
        """
        features = self.compute_features(audio, start_level, end_level)
        if self.config.bottleneck == "kl":
            posteriors = zip(self.posteriors[start_level:end_level], features, strict=True)
            return tuple(posterior(x).latents for posterior, x in posteriors)
        if not self.config.has_codes:
            return features
        codebooks = self.codebooks[start_level:end_level]
        return tuple(
            codebook.find_codes(x) for x, codebook in zip(features, codebooks, strict=True)
        )

    def decode(self, codes: jax.Array, level: int = 0, start: jax.Array | int = 0) -> jax.Array:
        """Decodes one level's codes [B, T] to audio [B, T * hop, channels].

        Args:
          start: sample of the track at which the codes begin, a multiple of `config.unit`; only
            synthesized levels depend on it.
        """
        if not 0 <= level < self.config.levels:
            raise ValueError(f"level {level} is not one of the {self.config.levels} levels")
        if self.config.has_codes:
            codes = self._look_up(codes, level)
        return self._decode_features(codes, level, start)

    def match_sound(self, audio: jax.Array, top_codes: jax.Array) -> jax.Array:
        """Filters the sound of a finer level to match what the top level's codes predict.

        Args:
          audio: [B, T, channels], T a multiple of `config.unit`.
          top_codes: int [B, T / hop], of the same time.

        Returns:
          float32 [B, T, channels]; channels are filtered each by itself.
        """
        config, frames = self.config, self.config.frames
        assert frames is not None
        level = config.levels - 1
        match = functools.partial(
            match_magnitudes,
            spectra=self._predict_spectra(self._look_up(top_codes, level), level),
            streams=config.streams(level),
            rounds=frames.matching_rounds,
            sample_rate=frames.sample_rate,
            contrast=frames.matching_contrast,
        )
        return jnp.stack([match(audio[..., i]) for i in range(audio.shape[-1])], axis=-1)

    def encode_reference(
        self,
        upper_codes: jax.Array,
        level: int,
        start: jax.Array | int = 0,
        audio: jax.Array | None = None,
    ) -> jax.Array:
        """Encodes at `level` the sound of the codes of the level above it.

        These codes tell an upsampler what is known already, in the terms of its own codes. Those of
        a synthesized level are its tones: they tell the phases of the partials, which the codes
        above do not have; any phases that go on from frame to frame serve.

        Args:
          upper_codes: int [B, N], whole frames.
          start: sample of the track at which they begin, a multiple of `config.unit`.
          audio: [B, T, channels], whose phases the tones of a synthesized level take; None: those
            of `decode`.

        Returns:
          int32 [B, T / hop].
        """
        upper = level + 1
        if upper not in range(1, self.config.levels):
            raise ValueError(f"level {level} has no level above it, hence no reference")
        if upper in self.config.synthesized_levels:
            mono = None if audio is None else audio.astype(jnp.float32).mean(axis=-1)
            synthesize = functools.partial(synthesize_references, audio=mono)
            features = self._look_up(upper_codes, upper)
            sound = self._synthesize_features(features, upper, start, synthesize)
        else:
            sound = self.decode(upper_codes, upper, start)
        (codes,) = self.encode(sound, level, level + 1)
        return codes

    def _look_up(self, codes: jax.Array, level: int) -> jax.Array:
        """Returns the vectors of a level's codes."""
        return quantize.look_up(codes, self.codebooks[level].read_state().codebook)

    def _decode_features(
        self, features: jax.Array, level: int, start: jax.Array | int
    ) -> jax.Array:
        """Decodes one level's features [B, T, E], without gradients to a synthesized level."""
        decoder = self.decoders[level]
        if decoder is not None:
            return decoder(features)
        return self._synthesize_features(features, level, start, synthesize_streams)

    def _synthesize_features(
        self,
        features: jax.Array,
        level: int,
        start: jax.Array | int,
        synthesize: Callable[..., jax.Array],
    ) -> jax.Array:
        """Applies a function of `ops.synthesis` to the spectra that features [B, T, E] predict."""
        config, frames = self.config, self.config.frames
        assert frames is not None
        samples = features.shape[1] * config.hops[level]
        spectra = lax.stop_gradient(self._predict_spectra(features, level))
        sound = synthesize(spectra, config.streams(level), start, sample_rate=frames.sample_rate)
        return jnp.repeat(sound[:, :samples, None], config.channels, axis=-1)

    def _predict_spectra(self, features: jax.Array, level: int) -> tuple[jax.Array, ...]:
        """Predicts log magnitudes of each stream from features [B, T, E], in whole frames."""
        head = self.spectrum_heads[self.config.spectral_levels.index(level)]
        return head(pad_frames(features, self.config.frame_codes(level)))

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
