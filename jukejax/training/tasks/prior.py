"""Training a prior or an upsampler on code shards (Jukebox paper, section 4)."""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jukejax.common.config import check_keys, freeze, plain
from jukejax.data import corpus, pipeline
from jukejax.data.vocabularies import Vocabulary
from jukejax.models.prior import Prior, PriorConfig, example_bits, losses
from jukejax.runtime import precision
from jukejax.training import finetune, flops
from jukejax.training.task import Task, data_facts
from jukejax.training.tasks import preview

KIND = "prior"
DATA_KEYS = ("folder", "batch_size", "aug_shift")
NO_DATA = {"hops": [8, 32, 128], "codebook_size": 2048, "sample_rate": 44100}


def prior_config(config: ml_collections.ConfigDict, dataset: corpus.Dataset | None) -> PriorConfig:
    """The model's config, with what the code shards know filled in where it is not given.

    That is: codebook sizes, the hop of the level, and how many artists and genres there are.
    Without shards they are those of the released VQ-VAE, and one name each.
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
        names = Vocabulary() if dataset is None else dataset.vocabulary
        model["labels"].setdefault("num_artists", len(names.artists))
        model["labels"].setdefault("num_genres", len(names.genres))
        model["labels"].setdefault("sample_rate", info["sample_rate"])
    frozen = freeze(PriorConfig, model, "config.model")
    top = level == levels - 1
    if top != (frozen.upper is None):
        wanted = "must not have" if top else "needs"
        raise ValueError(f"level {level} {wanted} model.upper, the conditioner on the level above")
    if dataset is not None and not top and frozen.upper.ratio != hops[level + 1] // hops[level]:
        raise ValueError(
            f"model.upper goes up {frozen.upper.ratio} times, but hops {hops} ask for "
            f"{hops[level + 1] // hops[level]}"
        )
    return frozen


def make(config: ml_collections.ConfigDict, *, with_data: bool = True) -> Task:
    """A task from `config.model` (`PriorConfig`) and `config.data` (folder, batch_size, ...).

    Args:
      with_data: False: a task to be planned or compiled, whose data need not be there.

    With `config.vqvae`, the VQ-VAE that made the codes, the task can be listened to (`preview`);
    with `config.audit` as well, what it plays is looked for in the training tracks.
    """
    dataset = corpus.open_dataset(config.data.folder) if with_data else None
    if with_data and dataset.kind != "codes":
        raise ValueError(f"data.folder {config.data.folder} holds {dataset.kind}; run encode on it")
    check_keys(config.data, DATA_KEYS, "config.data")
    frozen = prior_config(config, dataset)
    known = dataset.vocabulary if dataset else Vocabulary()
    if with_data:  # else what the shards know is guessed
        finetune.check_model(config, frozen)
    names = finetune.names(config, frozen.labels, known)
    if names is not None:
        rows = {"num_artists": names.num_artists, "num_genres": names.num_genres}
        frozen = dataclasses.replace(frozen, labels=dataclasses.replace(frozen.labels, **rows))
    if with_data and frozen.lyrics is not None:
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
        parts = losses(frozen, predictions, batch["codes"], batch.get("labels"))[1]
        return parts | {"example_bits": example_bits(frozen, predictions, batch["codes"])}

    def batch_shapes(examples: int) -> dict[str, jax.ShapeDtypeStruct]:
        lengths = {"codes": frozen.seq_len}
        if frozen.upper is not None:
            lengths["upper_codes"] = frozen.seq_len // frozen.upper.ratio
        if frozen.labels is not None:
            lengths["labels"] = frozen.label_width
        return {
            name: jax.ShapeDtypeStruct((examples, length), jnp.int32)
            for name, length in lengths.items()
        } | {"track": jax.ShapeDtypeStruct((examples,), jnp.int32)}

    def windows(split: str, batch_size: int, rows: np.ndarray | None = None):
        train = split == "train"
        return pipeline.read_code_batches(
            config.data.folder,
            split,
            level=frozen.level,
            seq_len=frozen.seq_len,
            max_genres=max_genres,
            vocabulary=names.vocabulary if names else None,
            batching=pipeline.Batching(
                batch_size=batch_size,
                seed=config.seed,
                shuffle=train,
                aug_shift=config.data.get("aug_shift", True),
                repeat=train,
                rows=rows,
            ),
        )

    def batches(split: str, rows: np.ndarray | None = None) -> Iterator[dict]:
        return windows(split, config.data.batch_size, rows)

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
            "vocabulary": (names.vocabulary if names else dataset.vocabulary).plain(),
            **finetune.origin(config),
        }

    listen = None
    if with_data and config.get("vqvae"):
        codec = preview.open_codec(config.vqvae, dataset.info["vqvae"])
        with contextlib.closing(windows("heldout", 1)) as held_out:
            window = next(held_out)
        matched = preview.matcher(dataset, frozen.level) if config.get("audit") else None
        listen = preview.sampler(frozen, model.dtype, codec, window, config.seed, matched)
    elif with_data and config.get("audit"):
        raise ValueError(
            "config.audit looks for previews in the training tracks, and there are none without "
            "config.vqvae; name the VQ-VAE that made the codes, or leave config.audit away"
        )

    return Task(
        name=KIND,
        init=init,
        loss=loss,
        evaluate=evaluate,
        batches=batches,
        batch_shapes=batch_shapes,
        finish=finish,
        describe=describe,
        example_codes=frozen.seq_len,
        **data_facts(dataset, frozen.sample_length),
        preview=listen,
        work=flops.prior(frozen),
    )


def histogram_entropy(dataset: corpus.Dataset, split: str, level: int) -> float:
    """Bits per code of the best model without memory: the entropy of the split's own histogram."""
    counts = np.zeros(dataset.info["codebook_size"], np.int64)
    for track in range(len(dataset.tracks(split))):
        counts += np.bincount(dataset.read_codes(split, track)[level], minlength=len(counts))
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum())
