"""What a task gives the training loop, which knows nothing else of the model it trains."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

Tree = Any
Metrics = dict[str, jax.Array]


@dataclass(frozen=True)
class Task:
    """A model to train and its data.

    Attributes:
      name: "vqvae" or "prior".
      init: key -> (params, extra); `extra` is state without gradient, such as codebooks.
      loss: (params, extra, batch, key) -> (loss, (new_extra, metrics)), in training mode.
      evaluate: (params, extra, batch) -> metrics, deterministic.
      batches: split -> iterator of batches; "train" is endless, "heldout" ends. Training iterators
        have `get_state` and `set_state`.
      finish: (params, extra, workdir, evaluation) -> what summary.json says of the held-out set.
      describe: () -> what model.json says: the model's frozen config and what belongs to it.
    """

    name: str
    init: Callable[[jax.Array], tuple[Tree, Tree]]
    loss: Callable[[Tree, Tree, dict, jax.Array], tuple[jax.Array, tuple[Tree, Metrics]]]
    evaluate: Callable[[Tree, Tree, dict], Metrics]
    batches: Callable[[str], Iterator[dict]]
    finish: Callable[[Tree, Tree, str, dict[str, float]], dict]
    describe: Callable[[], dict] = dict
