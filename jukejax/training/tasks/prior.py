"""The training task of a prior or an upsampler, on code shards (Jukebox paper, section 4)."""

import contextlib
import dataclasses
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jukejax.analysis.codebook import measure_usage
from jukejax.common.config import check_keys, to_plain
from jukejax.common.types import Tree
from jukejax.data import corpus, mixture, pipeline
from jukejax.data.openai_labels import OpenAIVocabulary
from jukejax.data.track_labels import encode_track_labels
from jukejax.data.vocabularies import LabelTables, Vocabulary
from jukejax.inference.codec_opening import open_codec
from jukejax.models.labels import drop_labels
from jukejax.models.prior import Prior
from jukejax.models.prior_losses import compute_example_bits, compute_losses, draw_hidden_codes
from jukejax.runtime import precision
from jukejax.training import flops, pretrained
from jukejax.training.task import Batch, Metrics, Preview, Task
from jukejax.training.tasks.lyrics import make_lyrics_reader
from jukejax.training.tasks.preview import PriorSampler, TrainingCodes
from jukejax.training.tasks.prior_sizes import complete_prior_config
from jukejax.weights.codec_identity import check_same_codec

DATA_KEYS = ("folder", "batch_size", "aug_shift")


class PriorTask(Task):
    """Trains an autoregressive model of one level's codes, in bits per code.

    `extra` is empty.
    """

    name = "prior"

    def __init__(self, config: ConfigDict, *, with_data: bool = True):
        """Completes the model's config from the data set.

        With `config.vqvae`, the VQ-VAE of the codes, the task has previews; with `config.audit`
        their codes are compared with the training tracks.

        Args:
          config: with `model` (`PriorConfig`) and `data`: folder of code shards, or a mixture of
            them, batch_size and aug_shift (see `pipeline.Batching`).
          with_data: False: for planning or compiling without the data.

        Raises:
          ValueError: the config or its data cannot be used.
        """
        self.config = config
        dataset = mixture.open_folders(config.data.folder) if with_data else None
        if dataset is not None and dataset.kind != "codes":
            raise ValueError(
                f"data.folder {config.data.folder} holds {dataset.kind}; run encode on it"
            )
        if isinstance(dataset, mixture.Mixture):
            check_same_codec({str(x.folder): x.info.get("vqvae") for x in dataset.parts})
        check_keys(config.data, DATA_KEYS, "config.data")
        self.model_config = complete_prior_config(config, dataset)
        if dataset is not None:  # without data, the numbers of artists and genres are placeholders
            pretrained.check_model(config, self.model_config)
        self.label_tables = self._size_label_tables(dataset.vocabulary if dataset else Vocabulary())
        self.lyrics_reader = make_lyrics_reader(config, self.model_config, dataset)
        self.model = Prior(self.model_config, precision.compute_dtype(config.dtype))
        if dataset is not None:
            self.set_dataset(dataset, self.model_config.sample_length, pipeline.CODE_KEY)
            for split in corpus.SPLITS:
                encode_track_labels(
                    dataset.tracks(split),
                    split,
                    self._vocabulary,
                    self.model_config.labels,
                    self.lyrics_reader,
                )
        self.sampler = self._make_sampler() if with_data else None
        self.example_codes = self.model_config.seq_len
        self.work = flops.count_prior(self.model_config)

    def _size_label_tables(self, vocabulary: Vocabulary) -> LabelTables | None:
        """Adds the data set's names to those of `config.init_from`; sizes the model's tables."""
        labels = self.model_config.labels
        tables = pretrained.extend_label_tables(self.config, labels, vocabulary)
        if tables is not None and labels is not None:
            labels = dataclasses.replace(
                labels, num_artists=tables.num_artists, num_genres=tables.num_genres
            )
            self.model_config = dataclasses.replace(self.model_config, labels=labels)
        return tables

    @property
    def _vocabulary(self) -> Vocabulary | OpenAIVocabulary:
        tables = self.label_tables
        return tables.vocabulary if tables is not None else self.dataset.vocabulary

    def _make_sampler(self) -> PriorSampler | None:
        if not self.config.get("vqvae"):
            if self.config.get("audit"):
                raise ValueError(
                    "config.audit compares previews with the training tracks, but there are no "
                    "previews without config.vqvae; set it to the VQ-VAE of the codes, or remove "
                    "config.audit"
                )
            return None
        level = self.model_config.level
        codec = open_codec(
            self.config.vqvae,
            self.dataset.info.get("vqvae"),
            flag="config.vqvae",
            codes="data.folder",
        )
        with contextlib.closing(self._open_windows("heldout", 1)) as batches:
            window = next(batches)
        training_codes = TrainingCodes(self.dataset, level) if self.config.get("audit") else None
        return PriorSampler(
            self.model_config, self.model.dtype, codec, window, self.config.seed, training_codes
        )

    def init_params(self, key: jax.Array) -> tuple[Tree, Tree]:
        shapes = self._input_shapes(1)
        arrays = {name: jnp.zeros(shape, jnp.int32) for name, shape in shapes.items()}
        return self.model.init(key, **arrays)["params"], {}

    def loss(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        dropout, labels = self.model_config.transformer.dropout, self.model_config.labels
        if labels is not None and (labels.dropout or labels.dropout_all):
            key, label_key = jax.random.split(key)
            batch = batch | {"labels": drop_labels(labels, batch["labels"], label_key)}
        hidden = None
        if self.model_config.context_dropout:
            key, hidden_key = jax.random.split(key)
            examples = len(batch["codes"])
            hidden = draw_hidden_codes(self.model_config, batch.get("labels"), examples, hidden_key)
        predictions = self.model.apply(
            {"params": params},
            **self._inputs(batch),
            hidden=hidden,
            deterministic=not dropout,
            rngs={"dropout": key} if dropout else None,
            method=self.model.compute_predictions,
        )
        bits, metrics = compute_losses(
            self.model_config, predictions, batch["codes"], batch.get("labels")
        )
        return bits, (extra, metrics)

    def evaluate(self, params: Tree, extra: Tree, batch: Batch) -> Metrics:
        del extra
        config, codes = self.model_config, batch["codes"]
        predictions = self.model.apply(
            {"params": params}, **self._inputs(batch), method=self.model.compute_predictions
        )
        _, metrics = compute_losses(config, predictions, codes, batch.get("labels"))
        return metrics | {"example_bits": compute_example_bits(config, predictions, codes)}

    def _inputs(self, batch: Batch) -> Batch:
        """Selects the model's inputs: the codes and their conditions."""
        return {name: batch[name] for name in self._input_shapes(1)}

    def _input_shapes(self, examples: int) -> dict[str, tuple[int, ...]]:
        config = self.model_config
        shapes: dict[str, tuple[int, ...]] = {"codes": (config.seq_len,)}
        if config.upper is not None:
            shapes["upper_codes"] = config.upper.find_shape(config.seq_len)
        if config.labels is not None:
            shapes["labels"] = (config.label_width,)
        return {name: (examples, *shape) for name, shape in shapes.items()}

    # -- Data ------------------------------------------------------------------------------------

    def open_batches(
        self, split: str, rows: np.ndarray | None = None, limit: int | None = None
    ) -> grain.DatasetIterator:
        return self._open_windows(split, self.config.data.batch_size, rows, limit)

    def _open_windows(
        self,
        split: str,
        batch_size: int,
        rows: np.ndarray | None = None,
        limit: int | None = None,
    ) -> grain.DatasetIterator:
        train = split == "train"
        model = self.model_config
        return pipeline.read_code_batches(
            self.config.data.folder,
            split,
            level=model.level,
            seq_len=model.seq_len,
            sizes=model.labels,
            vocabulary=self._vocabulary,
            lyrics_reader=self.lyrics_reader,
            reference=model.has_reference,
            batching=pipeline.Batching(
                batch_size=batch_size,
                seed=self.config.seed,
                shuffle=train,
                aug_shift=self.config.data.get("aug_shift", True),
                repeat=train,
                rows=rows,
                limit=limit,
            ),
        )

    def batch_shapes(self, examples: int) -> dict[str, jax.ShapeDtypeStruct]:
        shapes = self._input_shapes(examples) | {"track": (examples,)}
        return {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name, shape in shapes.items()}

    # -- Results ---------------------------------------------------------------------------------

    def make_preview(self, params: Tree, extra: Tree) -> Preview | None:
        del extra
        return None if self.sampler is None else self.sampler.make_preview(params)

    def finish_run(
        self, params: Tree, extra: Tree, workdir: str, evaluation: dict[str, float]
    ) -> dict[str, float]:
        """Compares the held-out loss with the entropy of the codes' histogram."""
        del params, extra, workdir
        entropy = measure_histogram_entropy(self.dataset, "heldout", self.model_config.level)
        bits = evaluation["bits_per_code"]
        return {
            "bits_per_code": bits,
            "histogram_entropy": entropy,
            "improvement": 1.0 - bits / entropy if entropy else 0.0,
        }

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.name,
            "level": self.model_config.level,
            "config": to_plain(self.model_config),
            "vqvae": self.dataset.info.get("vqvae"),
            "vocabulary": self._vocabulary.plain(),
            **pretrained.describe_origin(self.config),
        }


def measure_histogram_entropy(dataset: corpus.Dataset, split: str, level: int) -> float:
    """Computes the entropy of the codes' histogram in bits per code; 0 of an empty split.

    This is the loss of the best model that does not depend on earlier codes.
    """
    counts = np.zeros(dataset.info["codebook_size"], np.int64)
    for track in range(len(dataset.tracks(split))):
        counts += np.bincount(dataset.read_codes(split, track)[level], minlength=len(counts))
    return measure_usage(counts).entropy_bits if counts.any() else 0.0
