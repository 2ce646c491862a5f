"""A trained VQ-VAE for whole tracks, applied in windows with the results of a single pass."""

import contextlib
import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.inference import codec_programs
from jukejax.inference.spans import (
    ArraySound,
    Sound,
    Span,
    find_context,
    find_matching_context,
    find_matching_spans,
    find_reference_context,
    find_spans,
)
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops.cpu.switch import disable_cpu_kernels
from jukejax.ops.turns import repeat_last_frame
from jukejax.weights import loading
from jukejax.weights.codec_identity import identify_codec

WINDOW_SECONDS = 12  # of audio in one call of a program, including context


def default_batch_size() -> int:
    """Returns the number of windows to encode at once: 8 for each accelerator, 1 on a CPU."""
    return 1 if jax.default_backend() == "cpu" else 8 * jax.local_device_count()


class _SoundWindow(NamedTuple):
    """A window of a sound, and the codes [time] of each level of the whole sound."""

    sound: Sound
    codes: list[np.ndarray]
    span: Span


Progress = Callable[[int], None]  # called with the number of encoded samples


class Codec:
    """Encodes audio as codes of every level, and decodes the codes of one level to audio.

    Attributes:
      config: of the VQ-VAE.
      sample_rate: in Hz.
      identity: by which codes name it; see `weights.codec_identity`.
    """

    def __init__(self, description: dict, weights: Tree):
        self.config = freeze(VQVAEConfig, description["config"], "vqvae")
        if not self.config.has_codes:
            raise ValueError(
                f"the VQ-VAE has the bottleneck {self.config.bottleneck!r}, so that it has no "
                "codes; train one with config.model.bottleneck=vq"
            )
        self.sample_rate = description["sample_rate"]
        self.identity = identify_codec(weights)
        # `jnp.asarray` would compile a program for every shape.
        self._variables = jax.device_put(
            {"params": weights["params"], "codebook": weights["extra"]}
        )
        unit = self.config.unit
        self._window = -(-WINDOW_SECONDS * self.sample_rate // unit) * unit
        self._window = max(self._window, 4 * find_context(self.config, self.config.levels - 1))

    @classmethod
    def load(cls, path: str | Path) -> "Codec":
        """Loads the VQ-VAE of a workdir of train, of a bundle, or of a bundle's vqvae folder."""
        return cls(*loading.load_model(path, "vqvae"))

    @property
    def hop(self) -> int:
        """Samples of one top-level code."""
        return self.config.hops[-1]

    def codebook(self, level: int) -> np.ndarray:
        """Returns the vectors of a level's codes, float32 [codes, emb_dim]."""
        return np.asarray(self._variables["codebook"][f"codebooks_{level}"]["codebook"])

    def encode(self, audio: np.ndarray) -> list[np.ndarray]:
        """Encodes float32 [time, channels] as int32 [time // hop] of each level.

        Stereo is mixed to mono. Samples at the end that do not fill a top-level code are dropped.

        Raises:
          ValueError: the audio is shorter than one top-level code.
        """
        mono = audio.mean(axis=1, dtype=np.float32)
        ((_, codes),) = self._encode_windows([ArraySound(mono)], self._fit_window(len(mono)))
        return codes

    def encode_all(
        self,
        sounds: Iterable[Sound],
        *,
        batch_size: int = 1,
        progress: Progress = lambda samples: None,
    ) -> Iterator[tuple[Sound, list[np.ndarray]]]:
        """Encodes sounds of any length, in their order, as `encode` does.

        Windows of several sounds are encoded in one call of a program, which is compiled once, for
        [batch_size, window]. A batch is sharded over several devices if they divide it evenly.

        Args:
          batch_size: windows in a call.

        Raises:
          ValueError: a sound is shorter than one top-level code.
        """
        return self._encode_windows(sounds, self._window, batch_size, progress)

    def _fit_window(self, samples: int) -> int:
        """Returns the shortest of a few windows, each with a program, for so many samples."""
        unit = self.config.unit
        parts = (-(-self._window // (count * unit)) * unit for count in (8, 4, 2))
        return next((window for window in parts if samples <= window), self._window)

    def _encode_windows(
        self,
        sounds: Iterable[Sound],
        window: int,
        batch_size: int = 1,
        progress: Progress = lambda samples: None,
    ) -> Iterator[tuple[Sound, list[np.ndarray]]]:
        """Computes `encode_all` in windows of so many samples."""
        devices = jax.local_devices()
        if batch_size % len(devices):
            devices = devices[:1]
        mesh = jax.sharding.Mesh(devices, ("batch",))
        sharding = NamedSharding(mesh, PartitionSpec("batch"))
        variables = jax.device_put(self._variables, NamedSharding(mesh, PartitionSpec()))
        divide = functools.partial(self._divide, window)
        windows = itertools.chain.from_iterable(map(divide, sounds))
        running: deque[tuple[list[_SoundWindow], tuple[jax.Array, ...]]] = deque()
        while batch := list(itertools.islice(windows, batch_size)):
            inputs = jax.device_put(self._read(batch, batch_size, window), sharding)
            with disable_cpu_kernels() if len(devices) > 1 else contextlib.nullcontext():
                running.append(
                    (batch, codec_programs.encode_windows(self.config, variables, *inputs))
                )
            if len(running) == 2:  # the next windows are read while a call is computed
                yield from self._collect(*running.popleft(), progress)
        for batch, codes in running:
            yield from self._collect(batch, codes, progress)

    def _divide(self, window: int, sound: Sound) -> Iterator[_SoundWindow]:
        total = sound.samples // self.hop * self.hop
        if not total:
            raise ValueError(f"{sound.samples} samples of audio are less than one code, {self.hop}")
        codes = [np.empty(total // hop, np.int32) for hop in self.config.hops]
        margin = find_context(self.config, self.config.levels - 1)
        for span in find_spans(total, window, margin, self.config.unit):
            yield _SoundWindow(sound, codes, span)

    def _read(
        self, batch: list[_SoundWindow], batch_size: int, window: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the audio [batch_size, window, 1] of windows and their lengths [batch_size]."""
        audio = np.zeros((batch_size, window, 1), np.float32)
        lengths = np.full(batch_size, window, np.int32)
        for row, (sound, codes, span) in enumerate(batch):
            total = len(codes[-1]) * self.hop
            lengths[row] = min(window, total - span.start)
            sound.read(span.start, audio[row, : lengths[row], 0])
        return audio, lengths

    def _collect(
        self, batch: list[_SoundWindow], codes: tuple[jax.Array, ...], progress: Progress
    ) -> Iterator[tuple[Sound, list[np.ndarray]]]:
        """Copies the codes of a call to their sounds; yields the sounds that are now complete."""
        levels = jax.device_get(codes)
        progress(sum(window.span.end - window.span.begin for window in batch))
        for row, window in enumerate(batch):
            start, begin, end = window.span
            for hop, level, sound_codes in zip(self.config.hops, levels, window.codes, strict=True):
                used = level[row, (begin - start) // hop : (end - start) // hop]
                sound_codes[begin // hop : end // hop] = used
            if end == len(window.codes[-1]) * self.hop:
                yield window.sound, window.codes

    def encode_reference(
        self, upper_codes: np.ndarray, level: int, sound: Sound | None = None
    ) -> np.ndarray:
        """Encodes the reference of a level from the codes above (`VQVAE.encode_reference`).

        Windows are padded with zeros at the end of the track.

        Args:
          upper_codes: int [time] of the level above.
          sound: of these codes, whose phases tones take; None: phases that go on.

        Returns:
          int32 [time * ratio].
        """
        if level not in range(self.config.levels - 1):
            raise ValueError(
                f"level {level} has no reference: levels 0 to {self.config.levels - 2} have one"
            )
        hop, upper_hop, unit = (*self.config.hops[level : level + 2], self.config.unit)
        margin = find_reference_context(self.config, level)
        total, parts = len(upper_codes) * upper_hop, []
        window = max(self._fit_window(total + margin), -(-3 * margin // unit) * unit)
        spans = find_spans(-(-total // unit) * unit, window, margin, unit)
        for start, begin, end in spans:
            codes = upper_codes[start // upper_hop : (start + window) // upper_hop]
            codes = np.pad(codes, (0, window // upper_hop - len(codes)))
            audio = None
            if sound is not None and level + 1 in self.config.synthesized_levels:
                audio = np.zeros((1, window, 1), np.float32)
                sound.read(start, audio[0, : min(window, total - start), 0])
            rows = jnp.asarray(codes[None], jnp.int32)
            reference = codec_programs.encode_reference(
                self.config, level, self._variables, rows, jnp.int32(start), audio
            )
            parts.append(np.asarray(reference[0, (begin - start) // hop : (end - start) // hop]))
        return np.concatenate(parts)[: total // hop]

    def margin(self, level: int) -> int:
        """Returns the number of codes on each side on which the audio of a code depends."""
        return find_context(self.config, level) // self.config.hops[level]

    def decode(self, codes: np.ndarray, level: int) -> np.ndarray:
        """Decodes int [time] of one level to mono audio, float32 [time * hop, 1]."""
        hop, sounds = self.config.hops[level], []
        window, unit = self._window // hop, self.config.unit // hop
        for start, begin, end in find_spans(len(codes), window, self.margin(level), unit):
            window_codes = codes[start : start + window]
            sounds.append(self._decode_window(window_codes, level, start, begin, end))
        return np.concatenate(sounds)

    def match_sound(self, sound: np.ndarray, top_codes: np.ndarray) -> np.ndarray:
        """Filters a sound of a finer level, float32 [time, 1], to match the top level.

        Args:
          sound: from the beginning of the codes on.
          top_codes: int [t] (`VQVAE.match_sound`).
        """
        config, hop, parts = self.config, self.hop, []
        spans = find_matching_spans(config, len(sound), self._window)
        margin, total = find_matching_context(config), spans[-1].end
        padded = np.pad(sound, ((0, total - len(sound)), (0, 0)))
        codes = repeat_last_frame(top_codes, total // hop, config.unit // hop)
        for start, begin, end in spans:
            stop = min(end + margin, total)
            rows = jnp.asarray(codes[None, start // hop : stop // hop], jnp.int32)
            inputs = padded[None, start:stop], rows
            matched = codec_programs.match_window(config, self._variables, *inputs)
            parts.append(np.asarray(matched[0, begin - start : end - start]))
        return np.concatenate(parts)[: len(sound)]

    def decode_range(self, codes: np.ndarray, level: int, begin: int, end: int) -> np.ndarray:
        """Decodes codes `begin` to `end` of a track, to float32 [(end - begin) * hop, 1].

        The result equals that of `decode`; programs are compiled for a few lengths only, for tracks
        that grow. Within `margin` of the last code the audio depends on codes that may still be
        appended.
        """
        margin, window = self.margin(level), self._window // self.config.hops[level]
        unit = self.config.unit // self.config.hops[level]
        step = window - 2 * margin - (unit - 1)
        sounds = []
        for first in range(begin, end, step):
            last = min(first + step, end)
            start = max(first - margin, 0) // unit * unit
            window_codes = codes[start : last + margin]
            length = min(1 << (len(window_codes) - 1).bit_length(), window)
            window_codes = np.pad(window_codes, (0, length - len(window_codes)))
            sounds.append(self._decode_window(window_codes, level, start, first, last))
        return np.concatenate(sounds)

    def _decode_window(
        self, codes: np.ndarray, level: int, start: int, begin: int, end: int
    ) -> np.ndarray:
        """Decodes the codes [time] from code `start` of a track on, in one call.

        Returns:
          The audio of the codes `begin` to `end` of the track, float32 [samples, 1].
        """
        hop = self.config.hops[level]
        rows = jnp.asarray(codes[None], jnp.int32)
        audio = codec_programs.decode_window(
            self.config, level, self._variables, rows, jnp.int32(start * hop)
        )
        return np.asarray(audio[0, (begin - start) * hop : (end - start) * hop])
