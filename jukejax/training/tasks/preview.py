"""Previews of a prior during training: a few sampled seconds, and the start of a held-out window.

The sample has the conditions of the window. Window, conditions and noise are the same for every
preview of a run, so that previews differ by the weights only.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.analysis.code_index import CodeIndex
from jukejax.analysis.verdict import RULES
from jukejax.common.types import Tree
from jukejax.data import corpus
from jukejax.inference import generate
from jukejax.inference.codec import Codec
from jukejax.inference.conditioning import prepare_weights
from jukejax.inference.token_loop import NO_FILTER
from jukejax.inference.window_program import WindowInputs, sample_windows
from jukejax.models.prior_config import PriorConfig
from jukejax.runtime import distributed
from jukejax.training.task import Batch, Preview, to_host

SECONDS = 6.0
COPIED_BITS = RULES["run_bits"].copied[0]  # least information in a copied run of codes


class TrainingCodes:
    """Indexes the codes of the training tracks, and measures how much of a sequence they contain.

    Unlike `jukejax.audit`, it finds exact runs only, and derives no thresholds.
    """

    def __init__(self, dataset: corpus.Dataset, level: int):
        self._dataset, self._level = dataset, level

    @functools.cached_property
    def _index(self) -> CodeIndex:
        """The index, of 6 bytes a code, built at its first use."""
        tracks = range(len(self._dataset.tracks("train")))
        codes = [self._dataset.read_codes("train", track)[self._level] for track in tracks]
        return CodeIndex.build(codes, self._dataset.info["codebook_size"])

    def measure_match_rate(self, codes: np.ndarray) -> float:
        """Computes the share of codes [time] that are in long runs of the training tracks."""
        return self._index.compute_covered_share(codes, COPIED_BITS)


class PriorSampler:
    """Samples the start of a held-out window with a prior's weights and decodes it."""

    def __init__(
        self,
        config: PriorConfig,
        dtype: jnp.dtype,
        codec: Codec,
        window: Batch,
        seed: int,
        training_codes: TrainingCodes | None = None,
    ):
        """Prepares the inputs.

        Args:
          dtype: compute type of the model.
          window: a held-out batch of one, the same on every process.
          seed: of the noise.
          training_codes: if given, previews have the figures `match_rate` (of the generated codes)
            and `match_rate_heldout` (of the real window, for comparison).
        """
        self._config, self._dtype, self._codec = config, dtype, codec
        self._window, self._seed, self._training_codes = window, seed, training_codes
        codes = int(SECONDS * codec.sample_rate) // config.hop_length
        self._count = max(1, min(config.seq_len, codes))
        inputs: dict[str, Any] = dict(  # NumPy arrays, which are the same on every process
            codes=np.zeros((1, config.seq_len), np.int32),
            upper_codes=window["upper_codes"] if config.upper is not None else None,
            labels=window["labels"] if config.labels is not None else None,
            start=np.int32(0),
            stop=np.int32(self._count),
            offset=np.int32(0),
            keys=None,
            temperature=np.float32(1.0),
        )
        self._inputs = WindowInputs(**inputs)
        self._sample = jax.jit(self._sample_window)

    def _sample_window(self, params: Tree, inputs: WindowInputs) -> jax.Array:
        keys = generate.make_item_keys(self._seed, range(1), self._config.level)
        weights = prepare_weights(self._config, params, self._dtype)
        return sample_windows(self._config, NO_FILTER, weights, inputs._replace(keys=keys))

    def make_preview(self, params: Tree) -> Preview:
        """Samples with `params`, and decodes the generated and the real codes."""
        level = self._config.level
        generated = to_host(self._sample(params, self._inputs))[0, : self._count]
        real = np.asarray(self._window["codes"])[0, : self._count]
        figures = {}
        if self._training_codes is not None and distributed.is_writer():
            figures = {
                "match_rate": self._training_codes.measure_match_rate(generated),
                "match_rate_heldout": self._training_codes.measure_match_rate(real),
            }
        return Preview(
            audio={
                name: self._codec.decode(codes, level)[:, 0]
                for name, codes in (("generated", generated), ("heldout", real))
            },
            sample_rate=self._codec.sample_rate,
            histograms={"generated_codes": generated, "heldout_codes": real},
            figures=figures,
        )
