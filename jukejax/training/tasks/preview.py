"""What a prior sounds like while it trains: a few seconds that it makes up, beside the real ones.

Both begin where a held-out window begins and are told what that window is told, so that a preview
can be compared with the one before it: same labels, same codes above, same noise.
"""

import functools
from collections.abc import Callable

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
from jukejax.models.prior import PriorConfig
from jukejax.runtime import distributed
from jukejax.training.task import Preview, to_host

SECONDS = 6.0
COPIED_BITS = RULES["run_bits"].copied[0]  # what a run of the training set's codes must be worth


def open_codec(path: str, made_codes: dict) -> Codec:
    """The VQ-VAE of `config.vqvae`.

    Args:
      made_codes: what the code shards say of the VQ-VAE that made them.

    Raises:
      ValueError: there is none, or it is another one.
    """
    codec = Codec.load(path)
    if codec.hash != made_codes["hash"]:
        raise ValueError(
            f"config.vqvae={path} is not the VQ-VAE that made the codes of data.folder; give that "
            "one, or leave config.vqvae away"
        )
    return codec


def matcher(dataset: corpus.Dataset, level: int) -> Callable[[np.ndarray], float]:
    """The share of codes [time] that lie in long runs of the training tracks' codes.

    It is a small part of `jukejax.audit`: exact runs only, no thresholds from held-out tracks. The
    index, 6 bytes a code, is made at the first call.
    """

    @functools.cache
    def index() -> CodeIndex:
        tracks = range(len(dataset.tracks("train")))
        codes = [dataset.read_codes("train", track)[level] for track in tracks]
        return CodeIndex.build(codes, dataset.info["codebook_size"])

    return lambda codes: index().share(codes, COPIED_BITS)


def sampler(
    config: PriorConfig,
    dtype: jnp.dtype,
    codec: Codec,
    window: dict[str, np.ndarray],
    seed: int,
    matched: Callable[[np.ndarray], float] | None = None,
) -> Callable[[Tree, Tree], Preview]:
    """A task's `preview`.

    Args:
      dtype: compute type of the model.
      window: a held-out batch of one, the same on every process.
      seed: of the noise.
      matched: see `matcher`; its figures are logged as `match_rate` (of what is generated) and
        `match_rate_heldout` (of the real window: what the music has in common anyway).
    """
    count = max(1, min(config.seq_len, int(SECONDS * codec.sample_rate) // config.hop_length))
    inputs = generate.WindowInputs(
        codes=np.zeros((1, config.seq_len), np.int32),
        upper_codes=window["upper_codes"] if config.upper is not None else None,
        labels=window["labels"] if config.labels is not None else None,
        start=np.int32(0),
        stop=np.int32(count),
        offset=np.int32(0),
        keys=None,
        temperature=np.float32(1.0),
    )

    @jax.jit
    def sample(params: Tree, inputs: generate.WindowInputs) -> jax.Array:
        keys = generate.make_item_keys(seed, range(1), config.level)
        weights = prepare_weights(config, params, dtype)
        return generate.sample_windows(config, NO_FILTER, weights, inputs._replace(keys=keys))

    def preview(params: Tree, extra: Tree) -> Preview:
        del extra
        made = to_host(sample(params, inputs))[0, :count]
        real = np.asarray(window["codes"])[0, :count]
        sounds = {
            name: codec.decode(codes, config.level)[:, 0]
            for name, codes in (("generated", made), ("heldout", real))
        }
        figures = {}
        if matched is not None and distributed.is_writer():
            figures = {"match_rate": matched(made), "match_rate_heldout": matched(real)}
        return Preview(
            audio=sounds,
            sample_rate=codec.sample_rate,
            histograms={"generated_codes": made, "heldout_codes": real},
            figures=figures,
        )

    return preview
