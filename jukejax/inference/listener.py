"""A prior of a bundle as a listener: activations of its layers for the codes of whole tracks."""

from collections.abc import Sequence

import numpy as np

from jukejax.inference import activations
from jukejax.inference.activations import Activations
from jukejax.inference.loaded_model import Model


class Listener:
    """One level's prior, loaded.

    Attributes:
      level: which; None: the coarsest there is.
      config: of the prior.
    """

    def __init__(self, model: Model, level: int | None = None):
        level = max(model.levels) if level is None else level
        if level not in model.levels:
            raise ValueError(f"level {level} has no prior in {model.folder}: it has {model.levels}")
        self._model, self.level = model, level
        self.config, self._weights = model.prior(level)

    @property
    def middle(self) -> int:
        """The layer in the middle of the stack, the usual choice for what music is like."""
        return (self.config.transformer.num_layers + 1) // 2

    @property
    def window_seconds(self) -> float:
        """How much the prior hears at once."""
        return self.config.sample_length / self._model.sample_rate

    def hear(
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
        """Activations of a track (see `activations.track_activations`).

        Args:
          codes: int32 [t] of every level, as `Codec.encode` gives them.
          hop_fraction: share of a window that is new in the next one.
          artist, genre: names that the prior is told; None: "unknown", so that only sound speaks.
        """
        labels = None
        if self.config.labels is not None:
            seconds = len(codes[-1]) * self._model.hops[-1] / self._model.sample_rate
            labels = self._model.labels(
                self.level, artist=artist, genre=genre, total_seconds=seconds
            )
        return activations.track_activations(
            self.config,
            self._weights,
            codes[self.level],
            upper=codes[self.level + 1] if self.config.upper is not None else None,
            labels=labels,
            layers=layers,
            pooling=pooling,
            window_hop=self._model.window_hop(self.level, hop_fraction),
            batch_size=batch_size,
        )
