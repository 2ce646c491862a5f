"""A trained VQ-VAE over whole tracks: window by window, with results as if in one piece."""

import contextlib
import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.models.layers import Conv, DownConv, ResidualBlock, ResidualStack
from jukejax.models.vqvae import VQVAE, VQVAEConfig
from jukejax.ops.cpu.switch import disable_cpu_kernels
from jukejax.weights import bundle, loading

WINDOW_SECONDS = 12  # of audio that one program run sees, context included


def config_of(description: dict) -> VQVAEConfig:
    """The frozen config in a model's description."""
    return freeze(VQVAEConfig, description["config"], "vqvae")


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


_READERS = (Conv, DownConv, ResidualBlock)  # of neighbouring positions


@functools.partial(jax.jit, static_argnums=0)
def _encode(
    config: VQVAEConfig, variables: Tree, audio: jax.Array, lengths: jax.Array
) -> tuple[jax.Array, ...]:
    """Codes of windows [B, T, 1] of which only the first `lengths` [B] samples are sound.

    A convolution pads the end of its input with zeros. For every window to see just that at the end
    of its own sound, whatever follows is set to zero before each convolution: biases would fill it.
    A residual block may be one operation; its second convolution reads no neighbours.
    `lengths` must be whole top-level codes; the codes behind them mean nothing.
    """

    def end_with_zeros(apply, args, kwargs, context):
        if isinstance(context.module, _READERS) and context.method_name == "__call__":
            (x,) = args
            ends = lengths // (audio.shape[1] // x.shape[1])
            inside = jnp.arange(x.shape[1]) < ends[:, None]
            args = (jnp.where(inside[..., None], x, 0.0),)
        return apply(*args, **kwargs)

    with nn.intercept_methods(end_with_zeros):
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


def default_batch_size() -> int:
    """Windows to encode at once where nobody says: a CPU gains nothing from more than one."""
    return 1 if jax.default_backend() == "cpu" else 8 * jax.local_device_count()


class Sound(Protocol):
    """Something to encode, read piece by piece."""

    @property
    def samples(self) -> int:
        """Its length in samples."""

    def read(self, start: int, out: np.ndarray) -> None:
        """Fills `out`, float32 [time], with the mono samples from `start` on."""


@dataclass(frozen=True)
class Array:
    """A sound in memory, float32 [time]."""

    mono: np.ndarray

    @property
    def samples(self) -> int:
        return len(self.mono)

    def read(self, start: int, out: np.ndarray) -> None:
        out[:] = self.mono[start : start + len(out)]


class _Part(NamedTuple):
    """A window of a sound: from sample `start` on; its codes count from `begin` to `end`."""

    sound: Sound
    codes: list[np.ndarray]
    start: int
    begin: int
    end: int


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
        self.hash = bundle.hash_weights(weights)
        self._variables = jax.tree.map(
            jnp.asarray, {"params": weights["params"], "codebook": weights["extra"]}
        )
        self._window = -(-WINDOW_SECONDS * self.sample_rate // self.hop) * self.hop
        self._window = max(self._window, 4 * context(self.config, self.config.levels - 1))

    @classmethod
    def load(cls, path: str | Path) -> "Codec":
        """From a workdir of train, a bundle, or the vqvae folder of one."""
        return cls(*loading.load_model(path, "vqvae"))

    @property
    def hop(self) -> int:
        """Samples of one top-level code."""
        return self.config.hops[-1]

    def codebook(self, level: int) -> np.ndarray:
        """float32 [codes, emb_dim], what the codes of a level stand for."""
        return np.asarray(self._variables["codebook"][f"codebooks_{level}"]["codebook"])

    def encode(self, audio: np.ndarray) -> list[np.ndarray]:
        """float32 [time, channels] to int32 [time // hop] for each level.

        Stereo is mixed to mono. Samples that do not fill a top-level code are left off at the end.

        Raises:
          ValueError: the audio is shorter than one top-level code.
        """
        mono = audio.mean(axis=1, dtype=np.float32)
        ((_, codes),) = self.encode_all([Array(mono)])
        return codes

    def encode_all(
        self,
        sounds: Iterable[Sound],
        *,
        batch_size: int = 1,
        progress: Callable[[int], None] = lambda samples: None,
    ) -> Iterator[tuple[Sound, list[np.ndarray]]]:
        """Codes of sounds of any length, in their order, as `encode` gives them.

        Windows of several sounds share a run of one program, which is compiled once, for
        [batch_size, window]. Several devices share a batch if it can be shared evenly.

        Args:
          batch_size: windows in a run.
          progress: called after each run with the samples whose codes it settled.

        Raises:
          ValueError: a sound is shorter than one top-level code.
        """
        devices = jax.local_devices()
        if batch_size % len(devices):
            devices = devices[:1]
        mesh = jax.sharding.Mesh(devices, ("batch",))
        rows = NamedSharding(mesh, PartitionSpec("batch"))
        variables = jax.device_put(self._variables, NamedSharding(mesh, PartitionSpec()))
        parts = itertools.chain.from_iterable(map(self._parts, sounds))
        running: deque = deque()
        while batch := list(itertools.islice(parts, batch_size)):
            audio = np.zeros((batch_size, self._window, 1), np.float32)
            lengths = np.full(batch_size, self._window, np.int32)
            for row, part in enumerate(batch):
                lengths[row] = min(self._window, len(part.codes[-1]) * self.hop)
                part.sound.read(part.start, audio[row, : lengths[row], 0])
            audio, lengths = jax.device_put((audio, lengths), rows)
            with disable_cpu_kernels() if len(devices) > 1 else contextlib.nullcontext():
                running.append((batch, _encode(self.config, variables, audio, lengths)))
            if len(running) == 2:  # the next windows are read while a run is at work
                yield from self._settle(*running.popleft(), progress)
        for run in running:
            yield from self._settle(*run, progress)

    def _parts(self, sound: Sound) -> Iterator[_Part]:
        total = sound.samples // self.hop * self.hop
        if not total:
            raise ValueError(f"{sound.samples} samples of audio are less than one code, {self.hop}")
        codes = [np.empty(total // hop, np.int32) for hop in self.config.hops]
        margin = context(self.config, self.config.levels - 1)
        for start, begin, end in spans(total, self._window, margin):
            yield _Part(sound, codes, start, begin, end)

    def _settle(
        self, batch: list[_Part], found: tuple[jax.Array, ...], progress: Callable[[int], None]
    ) -> Iterator[tuple[Sound, list[np.ndarray]]]:
        """Puts the codes of a run in their places; gives the sounds that are complete with it."""
        found = jax.device_get(found)
        progress(sum(part.end - part.begin for part in batch))
        for row, part in enumerate(batch):
            for hop, level, whole in zip(self.config.hops, found, part.codes, strict=True):
                window = level[
                    row, (part.begin - part.start) // hop : (part.end - part.start) // hop
                ]
                whole[part.begin // hop : part.end // hop] = window
            if part.end == len(part.codes[-1]) * self.hop:
                yield part.sound, part.codes

    def margin(self, level: int) -> int:
        """Codes of a level to each side that can change how a code sounds."""
        return context(self.config, level) // self.config.hops[level]

    def decode(self, codes: np.ndarray, level: int) -> np.ndarray:
        """int [time] of one level to mono audio, float32 [time * hop, 1]."""
        window, parts = self._window // self.config.hops[level], []
        for start, begin, end in spans(len(codes), window, self.margin(level)):
            piece = codes[start : start + window]
            parts.append(self._decode_window(piece, level, begin - start, end - start))
        return np.concatenate(parts)

    def decode_part(self, codes: np.ndarray, level: int, begin: int, end: int) -> np.ndarray:
        """The sound of codes `begin` to `end` of a track, float32 [(end - begin) * hop, 1].

        As `decode` has it, and cheap while a track grows: programs are compiled for a few lengths
        only. What lies within `margin` of the last code depends on what follows there, and is not
        that of a track which ends so.
        """
        margin, window = self.margin(level), self._window // self.config.hops[level]
        parts = []
        for first in range(begin, end, window - 2 * margin):
            last = min(first + window - 2 * margin, end)
            start = max(first - margin, 0)
            piece = codes[start : last + margin]
            length = min(1 << (len(piece) - 1).bit_length(), window)
            piece = np.pad(piece, (0, length - len(piece)))
            parts.append(self._decode_window(piece, level, first - start, last - start))
        return np.concatenate(parts)

    def _decode_window(self, codes: np.ndarray, level: int, begin: int, end: int) -> np.ndarray:
        """Decodes codes [time] in one run; gives the sound of those from `begin` to `end`."""
        hop = self.config.hops[level]
        audio = _decode(self.config, level, self._variables, jnp.asarray(codes[None], jnp.int32))
        return np.asarray(audio[0, begin * hop : end * hop])


def open_codec(path: str | Path, vqvae_hash: str, *, flag: str, codes: str) -> Codec:
    """Loads the VQ-VAE given by `flag`; raises ValueError if it did not make `codes`."""
    codec = Codec.load(path)
    if codec.hash != vqvae_hash:
        raise ValueError(
            f"{flag}={path} is not the VQ-VAE that made the codes of {codes}; give that one, or "
            f"leave {flag} away"
        )
    return codec
