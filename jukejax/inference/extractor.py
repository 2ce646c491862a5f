"""Activations of a bundle's prior for the codes of whole tracks."""

from collections.abc import Sequence

import numpy as np

from jukejax.inference.activations import Activations, compute_track_activations
from jukejax.inference.conditioning import TrackCodes
from jukejax.inference.loaded_model import Model


class ActivationExtractor:
    """Computes activations of the prior of one level.

    Attributes:
      level: of the prior.
      config: of the prior.
    """

    def __init__(self, model: Model, level: int | None = None):
        """Loads the prior of `level`; None: the coarsest level with a prior."""
        level = max(model.levels) if level is None else level
        if level not in model.levels:
            raise ValueError(f"level {level} has no prior in {model.folder}: it has {model.levels}")
        self._model, self.level = model, level
        self.config, self._weights = model.load_prior(level)

    @property
    def middle_layer(self) -> int:
        """The layer in the middle of the stack, the usual choice for features of music."""
        return (self.config.transformer.num_layers + 1) // 2

    @property
    def window_seconds(self) -> float:
        """The length of a window of the prior in seconds."""
        return self.config.sample_length / self._model.sample_rate

    def extract_activations(
        self,
        codes: Sequence[np.ndarray],
        *,
        layers: Sequence[int],
        pooling: str,
        hop_fraction: float = 1.0,
        batch_size: int = 1,
        artist: str | None = None,
        genre: str | None = None,
    ) -> Activations:
        """Computes the activations of a track (see `activations.compute_track_activations`).

        Args:
          codes: int32 [t] of every level, as `Codec.encode` returns them.
          hop_fraction: share of a window that is new in the next one.
          artist, genre: names in the model's vocabulary; None: "unknown", so that the activations
            depend on the sound only.
        """
        labels = None
        if self.config.labels is not None:
            seconds = len(codes[-1]) * self._model.hops[-1] / self._model.sample_rate
            labels = self._model.encode_labels(
                self.level, artist=artist, genre=genre, total_seconds=seconds
            )
        upper_codes = None
        if self.config.upper is not None:
            upper_codes = self._model.prepare_upper_codes(self.config, codes[self.level + 1])
        return compute_track_activations(
            self.config,
            self._weights,
            TrackCodes(codes[self.level], upper_codes, labels),
            layers=layers,
            pooling=pooling,
            window_hop=self._model.window_hop(self.level, hop_fraction),
            batch_size=batch_size,
        )
