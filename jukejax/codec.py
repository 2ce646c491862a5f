"""A trained VQ-VAE over whole tracks: window by window, with results as if in one piece."""

import functools
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jukejax import loading
from jukejax.config import freeze
from jukejax.models.layers import ResidualStack
from jukejax.models.vqvae import VQVAE, VQVAEConfig
from jukejax.weights import bundle

Tree = Any

WINDOW_SECONDS = 12  # of audio that one program run sees, context included


def config_of(description: dict) -> VQVAEConfig:
    """The frozen config in a model's description."""
    return freeze(VQVAEConfig, description["config"], "vqvae")


def content_hash(weights: Tree) -> str:
    """Sha256 of all arrays, by which code shards remember the VQ-VAE that made them."""
    digest = hashlib.sha256()
    for name, value in sorted(bundle.flatten(weights).items()):
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def context(config: VQVAEConfig, level: int) -> int:
    """Samples to each side that can change a code of this level, rounded up to top-level codes."""
    multiplier = config.multipliers[level]
    stack = ResidualStack(
        depth=multiplier * config.depth,
        dilation_growth_rate=config.dilation_growth_rate,
        dilation_cycle=config.dilation_cycle,
        parent=None,
    )
    reach, rate = 0, 1
    for downs, stride in zip(config.downs[: level + 1], config.strides, strict=False):
        for _ in range(downs):
            reach += 2 * stride * rate
            rate *= stride
            reach += sum(stack.dilations) * rate
        reach += rate
    return -(-(reach + 1) // config.hops[-1]) * config.hops[-1]


@functools.partial(jax.jit, static_argnums=0)
def _encode(config: VQVAEConfig, variables: Tree, audio: jax.Array) -> tuple[jax.Array, ...]:
    return VQVAE(config).apply(variables, audio, method=VQVAE.encode)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decode(config: VQVAEConfig, level: int, variables: Tree, codes: jax.Array) -> jax.Array:
    return VQVAE(config).apply(variables, codes, level, method=VQVAE.decode)


def spans(total: int, window: int, margin: int) -> list[tuple[int, int, int]]:
    """(start, from, to) of windows whose parts [from, to) cover [0, total) without overlap.

    A window starts at `start` and is as long as `window`, or as `total` if that is shorter; its
    part keeps `margin` away from the window's ends, save at the ends of the track.
    """
    if total <= window:
        return [(0, 0, total)]
    if window <= 2 * margin:
        raise ValueError(f"windows of {window} leave nothing between margins of {margin}")
    found, done = [], 0
    while done < total:
        start = min(max(done - margin, 0), total - window)
        end = total if start + window == total else start + window - margin
        found.append((start, done, end))
        done = end
    return found


class Codec:
    """Audio to codes of every level, and codes of one level to audio.

    Attributes:
      config: of the VQ-VAE.
      sample_rate: in Hz.
      hash: of its weights.
    """

    def __init__(self, description: dict, weights: Tree):
        self.config = config_of(description)
        self.sample_rate = description["sample_rate"]
        self.hash = content_hash(weights)
        self._variables = jax.tree.map(
            jnp.asarray, {"params": weights["params"], "codebook": weights["extra"]}
        )
        self._window = -(-WINDOW_SECONDS * self.sample_rate // self.hop) * self.hop
        self._window = max(self._window, 4 * context(self.config, self.config.levels - 1))

    @classmethod
    def load(cls, path: str | Path) -> "Codec":
        """From a workdir of train, a bundle, or the vqvae folder of one."""
        return cls(*loading.load_part(path, "vqvae"))

    @property
    def hop(self) -> int:
        """Samples of one top-level code."""
        return self.config.hops[-1]

    def encode(self, audio: np.ndarray) -> list[np.ndarray]:
        """float32 [time, channels] to int32 [time // hop] for each level.

        Stereo is mixed to mono. Samples that do not fill a top-level code are left off at the end.

        Raises:
          ValueError: the audio is shorter than one top-level code.
        """
        total = len(audio) // self.hop * self.hop
        if not total:
            raise ValueError(f"{len(audio)} samples of audio are less than one code, {self.hop}")
        mono = audio[:total].mean(axis=1, dtype=np.float32)[None, :, None]
        parts = [[] for _ in self.config.hops]
        margin = context(self.config, self.config.levels - 1)
        for start, begin, end in spans(total, self._window, margin):
            window = jnp.asarray(mono[:, start : start + self._window])
            for level, codes in enumerate(_encode(self.config, self._variables, window)):
                hop = self.config.hops[level]
                part = slice((begin - start) // hop, (end - start) // hop)
                parts[level].append(np.asarray(codes[0, part]))
        return [np.concatenate(level) for level in parts]

    def decode(self, codes: np.ndarray, level: int) -> np.ndarray:
        """int [time] of one level to mono audio, float32 [time * hop, 1]."""
        hop = self.config.hops[level]
        window, margin = self._window // hop, context(self.config, level) // hop
        parts = []
        for start, begin, end in spans(len(codes), window, margin):
            piece = jnp.asarray(codes[None, start : start + window], jnp.int32)
            audio = _decode(self.config, level, self._variables, piece)
            parts.append(np.asarray(audio[0, (begin - start) * hop : (end - start) * hop]))
        return np.concatenate(parts)
