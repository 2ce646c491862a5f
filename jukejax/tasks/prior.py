"""Training a prior or an upsampler on code shards (Jukebox paper, section 4)."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jukejax import precision
from jukejax.config import freeze, plain
from jukejax.data import corpus, pipeline
from jukejax.models.prior import Prior, PriorConfig, losses
from jukejax.tasks.task import Task

KIND = "prior"


def prior_config(config: ml_collections.ConfigDict, dataset: corpus.Dataset) -> PriorConfig:
    """The model's config, with what the code shards know filled in where it is not given.

    That is: codebook sizes, the hop of the level, and how many artists and genres there are.
    """
    model = config.model.to_dict()
    level = model.get("level")
    hops, codebook_size = dataset.info["hops"], dataset.info["codebook_size"]
    levels = len(hops)
    if level not in range(levels):
        raise ValueError(f"model.level is {level}; {dataset.folder} has levels 0 to {levels - 1}")
    model.setdefault("codebook_size", codebook_size)
    model.setdefault("hop_length", hops[level])
    if model.get("upper") is not None:
        model["upper"].setdefault("vocab_size", codebook_size)
    if model.get("labels") is not None:
        model["labels"].setdefault("num_artists", len(dataset.vocabulary.artists))
        model["labels"].setdefault("num_genres", len(dataset.vocabulary.genres))
        model["labels"].setdefault("sample_rate", dataset.info["sample_rate"])
    frozen = freeze(PriorConfig, model, "config.model")
    top = level == levels - 1
    if top != (frozen.upper is None):
        wanted = "must not have" if top else "needs"
        raise ValueError(f"level {level} {wanted} model.upper, the conditioner on the level above")
    if not top and frozen.upper.ratio != hops[level + 1] // hops[level]:
        raise ValueError(
            f"model.upper goes up {frozen.upper.ratio} times, but hops {hops} ask for "
            f"{hops[level + 1] // hops[level]}"
        )
    return frozen


def make(config: ml_collections.ConfigDict) -> Task:
    """A task from `config.model` (`PriorConfig`) and `config.data` (folder, batch_size, ...)."""
    dataset = corpus.open_dataset(config.data.folder)
    if dataset.kind != "codes":
        raise ValueError(f"data.folder {config.data.folder} holds {dataset.kind}; run encode on it")
    frozen = prior_config(config, dataset)
    if frozen.lyrics is not None:
        raise ValueError(
            f"config.model.lyrics asks for lyrics, but code shards such as {dataset.folder} hold "
            "none; leave model.lyrics away"
        )
    model = Prior(frozen, precision.compute_dtype(config.dtype))
    max_genres = frozen.labels.max_genres if frozen.labels else 1

    def inputs(batch: dict) -> dict:
        """What the model is told beside the codes."""
        told = {}
        if frozen.upper is not None:
            told["upper_codes"] = batch["upper_codes"]
        if frozen.labels is not None:
            told["labels"] = batch["labels"]
        return told

    def init(key: jax.Array):
        codes = jnp.zeros((1, frozen.seq_len), jnp.int32)
        told = {}
        if frozen.upper is not None:
            shape = (1, frozen.seq_len // frozen.upper.ratio)
            told["upper_codes"] = jnp.zeros(shape, jnp.int32)
        if frozen.labels is not None:
            told["labels"] = jnp.zeros((1, frozen.label_width), jnp.int32)
        return model.init(key, codes, **told)["params"], {}

    def loss(params, extra, batch, key):
        dropout = frozen.transformer.dropout
        predictions = model.apply(
            {"params": params},
            batch["codes"],
            **inputs(batch),
            deterministic=not dropout,
            rngs={"dropout": key} if dropout else None,
            method=model.predictions,
        )
        bits, parts = losses(frozen, predictions, batch["codes"], batch.get("labels"))
        return bits, (extra, parts)

    def evaluate(params, extra, batch):
        del extra
        predictions = model.apply(
            {"params": params}, batch["codes"], **inputs(batch), method=model.predictions
        )
        return losses(frozen, predictions, batch["codes"], batch.get("labels"))[1]

    def batches(split: str) -> Iterator[dict]:
        train = split == "train"
        return pipeline.code_windows(
            config.data.folder,
            split,
            level=frozen.level,
            seq_len=frozen.seq_len,
            batch_size=config.data.batch_size,
            max_genres=max_genres,
            seed=config.seed,
            shuffle=train,
            repeat=train,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def finish(params, extra, workdir: str, evaluation: dict[str, float]) -> dict:
        del params, extra
        entropy = histogram_entropy(dataset, "heldout", frozen.level)
        bits = evaluation["bits_per_code"]
        return {
            "bits_per_code": bits,
            "histogram_entropy": entropy,
            "improvement": 1.0 - bits / entropy if entropy else 0.0,
        }

    def describe() -> dict:
        return {
            "kind": KIND,
            "level": frozen.level,
            "config": plain(frozen),
            "vqvae": dataset.info["vqvae"],
            "vocabulary": dataclasses.asdict(dataset.vocabulary),
        }

    return Task(KIND, init, loss, evaluate, batches, finish, describe)


def histogram_entropy(dataset: corpus.Dataset, split: str, level: int) -> float:
    """Bits per code of the best model without memory: the entropy of the split's own histogram."""
    counts = np.zeros(dataset.info["codebook_size"], np.int64)
    for track in range(len(dataset.tracks(split))):
        counts += np.bincount(dataset.read_codes(split, track)[level], minlength=len(counts))
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum())
