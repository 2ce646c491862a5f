"""The sizes of a prior that follow from its code shards: codebooks, hop, names and letters."""

from typing import Any

from ml_collections import ConfigDict

from jukejax.common.config import freeze
from jukejax.data import corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.models.prior_config import PriorConfig
from jukejax.training.tasks.lyrics import set_vocab_size

NO_DATA: dict[str, Any] = {"hops": [8, 32, 128], "codebook_size": 2048, "sample_rate": 44100}


def complete_prior_config(config: ConfigDict, dataset: corpus.Dataset | None) -> PriorConfig:
    """Completes `config.model` with the values that follow from the code shards.

    These are the codebook sizes, the hop of the level, and the numbers of artists, genres and
    characters of lyrics, if the config omits them. Without shards they are those of the released
    VQ-VAE, one name each, and no character.

    Raises:
      ValueError: the config does not fit the level or the shards.
    """
    model = config.model.to_dict()
    level = model.get("level")
    info = NO_DATA if dataset is None else dataset.info
    hops, codebook_size = info["hops"], info["codebook_size"]
    levels = len(hops)
    if level not in range(levels):
        raise ValueError(f"model.level is {level}; there are levels 0 to {levels - 1}")
    model.setdefault("codebook_size", codebook_size)
    model.setdefault("hop_length", hops[level])
    if model.get("upper") is not None:
        model["upper"].setdefault("vocab_size", codebook_size)
    if model.get("labels") is not None:
        vocabulary = Vocabulary() if dataset is None else dataset.vocabulary
        model["labels"].setdefault("num_artists", len(vocabulary.artists))
        model["labels"].setdefault("num_genres", len(vocabulary.genres))
        model["labels"].setdefault("sample_rate", info["sample_rate"])
    if model.get("lyrics") is not None:
        set_vocab_size(config, model["lyrics"], dataset)
    frozen = freeze(PriorConfig, model, "config.model")
    if dataset is not None:
        _check_codebooks(frozen, codebook_size)
    is_top = level == levels - 1
    if is_top != (frozen.upper is None):
        verb = "must not have" if is_top else "needs"
        raise ValueError(f"level {level} {verb} model.upper, the conditioner on the level above")
    if dataset is not None and frozen.upper is not None:
        ratio = hops[level + 1] // hops[level]
        if frozen.upper.ratio != ratio:
            raise ValueError(
                f"model.upper upsamples {frozen.upper.ratio} times, but hops {hops} need {ratio}"
            )
    return frozen


def _check_codebooks(config: PriorConfig, codebook_size: int) -> None:
    """Checks that a model has an entry for every code of its level and of the level above.

    Args:
      codebook_size: codes of each level in the data.
    """
    sizes = {"codebook_size": config.codebook_size}
    if config.upper is not None:
        sizes["upper.vocab_size"] = config.upper.vocab_size
    for key, size in sizes.items():
        if size < codebook_size:
            raise ValueError(
                f"config.model.{key} is {size}, but the data has {codebook_size} codes; remove it, "
                f"or set it to {codebook_size}"
            )
