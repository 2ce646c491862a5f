"""The codebook of one VQ-VAE level as a Flax module (Jukebox, section 3.1).

The module holds the state; distances, the commitment loss, moving averages and the restart of
unused codes are computed in `ops/quantize.py`.

Letters: B batch, T time, E features of a code.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jukejax.ops import quantize
from jukejax.ops.quantize import Codebook, Quantized
from jukejax.ops.turns import (
    Stream,
    count_turns,
    find_ranges,
    join_streams,
    pad_frames,
    split_streams,
)


class Quantizer(nn.Module):
    """Holds one level's codebook, variables of the collection "codebook", and updates it.

    Attributes:
      num_codes: codes of the codebook.
      emb_dim: features of a code.
      decay: of the moving averages.
      restart_threshold: codes with fewer rows a batch on average restart
        (`quantize.update_codebook`).
      streams: of codes that take turns (`ops.turns`), each of which has a part of the codebook.
    """

    num_codes: int
    emb_dim: int
    decay: float
    restart_threshold: float
    streams: tuple[Stream, ...] = ()

    def setup(self) -> None:
        start = quantize.empty_codebook(self.num_codes, self.emb_dim)
        self.state = {
            name: self.variable("codebook", name, lambda value=value: value)
            for name, value in start._asdict().items()
        }

    def read_state(self) -> Codebook:
        """Returns the codebook and its moving averages."""
        return Codebook(**{name: variable.value for name, variable in self.state.items()})

    def __call__(
        self, features: jax.Array, *, train: bool
    ) -> tuple[Quantized, dict[str, jax.Array]]:
        """Quantizes [B, T, E]; in training also initializes or updates the codebook.

        The batch is quantized before the update. Training draws from the
        random stream "codebook".
        """
        # With gradient accumulation microbatches do not change the codebook: the training step
        # calls `start_codebook` before and `update_codebook` after them, with the global batch.
        is_microbatch = not self.is_mutable_collection("codebook")
        if is_microbatch or not train:
            return self._quantize(features), {}
        keys = jax.random.split(self.make_rng("codebook"))
        self._start(features, keys[0])
        quantized = self._quantize(features)
        return quantized, self._update(features, quantized.codes, keys[1])

    def find_codes(self, features: jax.Array) -> jax.Array:
        """Returns the nearest code of each row. [B, T, E] -> int32 [B, T]."""
        codebook = self.read_state().codebook
        if not self.streams:
            return quantize.find_nearest(features, codebook)[0]
        ranges = find_ranges(self.streams, self.num_codes)
        parts = split_streams(pad_frames(features, count_turns(self.streams)), self.streams)
        codes = [
            start + quantize.find_nearest(part, codebook[start:end])[0]
            for part, (start, end) in zip(parts, ranges, strict=True)
        ]
        return join_streams(codes, self.streams)[:, : features.shape[1]]

    def _quantize(self, features: jax.Array) -> Quantized:
        codes = self.find_codes(lax.stop_gradient(features)) if self.streams else None
        return quantize.quantize_vectors(features, self.read_state().codebook, codes)

    def start_codebook(self, features: jax.Array) -> None:
        """Initializes the codebook from a global batch [B, T, E] if it is empty."""
        self._start(features, jax.random.split(self.make_rng("codebook"))[0])

    def update_codebook(self, features: jax.Array, codes: jax.Array) -> dict[str, jax.Array]:
        """Updates the codebook from a global batch [B, T, E] and its codes [B, T]."""
        return self._update(features, codes, jax.random.split(self.make_rng("codebook"))[1])

    def _select_rows(self, features: jax.Array, key: jax.Array) -> jax.Array:
        rows = self._flatten_rows(features)
        drawn = quantize.draw_rows(key, len(rows), self.num_codes, self.emb_dim)
        if self.streams:
            drawn = drawn._replace(rows=self._move_to_streams(drawn.rows[: self.num_codes]))
        return quantize.select_rows(rows, self.num_codes, drawn)

    def _move_to_streams(self, rows: jax.Array) -> jax.Array:
        """Moves the row drawn for each code within its frame to a turn of the code's stream."""
        num_turns = count_turns(self.streams)
        places = np.zeros(self.num_codes, np.int32)
        ranges = find_ranges(self.streams, self.num_codes)
        for stream, (start, end) in zip(self.streams, ranges, strict=True):
            places[start:end] = np.resize(stream.positions, end - start)
        return rows // num_turns * num_turns + jnp.asarray(places)

    def _start(self, features: jax.Array, key: jax.Array) -> None:
        state = self.read_state()
        self._write_state(
            lax.cond(
                state.initialised,
                lambda: state,
                lambda: quantize.start_codebook(self._select_rows(features, key)),
            )
        )

    def _update(
        self, features: jax.Array, codes: jax.Array, key: jax.Array
    ) -> dict[str, jax.Array]:
        state, metrics = quantize.update_codebook(
            self.read_state(),
            self._flatten_rows(features),
            codes.reshape(-1),
            self._select_rows(features, key),
            decay=self.decay,
            threshold=self.restart_threshold,
        )
        self._write_state(state)
        return metrics

    def _flatten_rows(self, features: jax.Array) -> jax.Array:
        return lax.stop_gradient(features).reshape(-1, self.emb_dim)

    def _write_state(self, state: Codebook) -> None:
        for name, value in state._asdict().items():
            self.state[name].value = value
