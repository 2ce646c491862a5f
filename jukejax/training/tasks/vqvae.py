"""The training task of the VQ-VAE, on audio shards (Jukebox paper, section 3 and appendix B.1)."""

from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jukejax.common.config import check_keys, freeze, to_plain
from jukejax.common.types import Tree
from jukejax.data import audio, mixture, pipeline
from jukejax.models.layers import init_params
from jukejax.models.vqvae import VQVAE, VQVAEOutput
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import quantize
from jukejax.ops.stft import Bandwidth
from jukejax.runtime import distributed, precision
from jukejax.training import flops, pretrained
from jukejax.training.task import Batch, Metrics, Preview, Task, to_host
from jukejax.training.tasks.vqvae_inputs import (
    measure_split_bandwidth,
    read_decoders_only,
    read_excerpt,
)
from jukejax.training.tasks.vqvae_loss import LossConfig, check_window, name_metrics, total_loss

DATA_KEYS = (
    "folder", "window", "batch_size", "aug_shift", "aug_blend", "aug_gain", "aug_mute"
)  # fmt: skip


class VQVAETask(Task):
    """Trains encoders and decoders by gradient and codebooks by moving averages.

    `extra` holds the codebooks: {"codebooks_LEVEL": fields of `quantize.Codebook`}.
    """

    name = "vqvae"
    sample_rate: int = audio.SAMPLE_RATE

    def __init__(self, config: ConfigDict, *, with_data: bool = True):
        """Reads the configs and measures the data set's bandwidth.

        Args:
          config: with `model` (`VQVAEConfig`), `loss` (`LossConfig`) and `data`: folder of audio
            shards or a mixture of them, window in samples, batch_size; for the training split
            aug_shift, aug_blend, aug_gain and aug_mute (see `epochs.Augmentation`).
          with_data: False: for planning or compiling without the data.

        Raises:
          ValueError: the config or its data cannot be used.
        """
        self.config = config
        self.model_config = freeze(VQVAEConfig, config.model, "config.model")
        check_keys(config.data, DATA_KEYS, "config.data")
        self.loss_config = freeze(LossConfig, config.get("loss", {}), "config.loss")
        self.decoders_only = read_decoders_only(config, self.model_config)
        if self.model_config.channels != 1:
            raise ValueError(
                f"config.model.channels is {self.model_config.channels}: audio shards are read mono"
            )
        self.window: int = config.data.window
        check_window(self.model_config, self.loss_config, self.window)
        pretrained.check_model(config, self.model_config)
        self.bandwidth = Bandwidth(1.0, 1.0, 1.0)
        if with_data:
            self._open_data(config.data.folder)
        self.model = VQVAE(self.model_config, precision.compute_dtype(config.dtype))
        self.fixed_params = self._find_fixed_params()
        self.example_codes = self.window
        self.work = flops.count_vqvae(self.model_config, self.window, self.loss_config.used_stfts)
        self._decode_levels = jax.jit(
            lambda variables, sound: self.model.apply(variables, sound).audio
        )

    def _open_data(self, folder: str) -> None:
        dataset = mixture.open_folders(folder)
        if dataset.kind != "audio":
            raise ValueError(
                f"data.folder {folder} holds {dataset.kind}; give the output of prepare"
            )
        self.set_dataset(dataset, self.window, pipeline.AUDIO_KEY)
        self.sample_rate = dataset.info["sample_rate"]
        self.bandwidth = measure_split_bandwidth(folder, self.window, self.sample_rate)

    def init_params(self, key: jax.Array) -> tuple[Tree, Tree]:
        config, shapes = self.model_config, self._find_shapes()
        params = init_params(shapes["params"], key, zero_out=config.zero_out)
        codebooks = {
            name: quantize.empty_codebook(config.codebook_size, config.emb_dim)._asdict()
            for name in shapes.get("codebook", {})
        }
        return params, codebooks

    def apply_training(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array
    ) -> tuple[VQVAEOutput, Tree]:
        """Runs the model on a batch, and updates the codebooks. Returns (output, new codebooks)."""
        if self.decoders_only:
            fixed = {name: jax.lax.stop_gradient(params[name]) for name in self.fixed_params}
            variables = {"params": {**params, **fixed}, "codebook": extra}
            return self.model.apply(variables, batch["audio"]), extra
        output, updated = self.model.apply(
            {"params": params, "codebook": extra},
            batch["audio"],
            train=True,
            rngs={"codebook": key},
            mutable=["codebook"],
        )
        return output, updated.get("codebook", {})

    def _find_fixed_params(self) -> tuple[str, ...]:
        if not self.decoders_only:
            return ()
        trained = {f"decoders_{level}" for level in self.decoders_only}
        return tuple(sorted(self._find_shapes()["params"].keys() - trained))

    def _find_shapes(self) -> Tree:
        """Returns the shapes of the model's variables."""
        window = jax.ShapeDtypeStruct((1, self.model_config.unit, 1), jnp.float32)
        return jax.eval_shape(self.model.init, jax.random.key(0), window)

    def loss(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        output, updated = self.apply_training(params, extra, batch, key)
        total, levels = total_loss(self.loss_config, self.bandwidth, batch["audio"], output)
        return total, (updated, name_metrics(levels))

    def evaluate(self, params: Tree, extra: Tree, batch: Batch) -> Metrics:
        config = self.model_config
        output = self.model.apply({"params": params, "codebook": extra}, batch["audio"])
        _, levels = total_loss(self.loss_config, self.bandwidth, batch["audio"], output)
        if output.quantized is not None:
            threshold = config.restart_threshold
            for level, metrics in enumerate(levels):
                codebook = quantize.Codebook(**extra[f"codebooks_{level}"])
                codes = output.quantized[level].codes.reshape(-1)
                counts = jnp.bincount(codes, length=config.codebook_size)
                metrics |= quantize.compute_code_statistics(counts, threshold=threshold)
                metrics["usage"] = quantize.count_live_codes(codebook, threshold=threshold)
        return name_metrics(levels)

    # -- Codebooks with gradient accumulation ----------------------------------------------------

    def start_extra(self, params: Tree, extra: Tree, parts: Batch, key: jax.Array) -> Tree:
        """Initializes empty codebooks from the features of the global batch."""
        if not extra:
            return extra
        initialised = jnp.stack([codebook["initialised"] for codebook in extra.values()])
        return jax.lax.cond(
            initialised.all(),
            lambda: extra,
            lambda: self._start_codebooks(params, extra, parts, key),
        )

    def _start_codebooks(self, params: Tree, extra: Tree, parts: Batch, key: jax.Array) -> Tree:
        _, features = jax.lax.scan(
            lambda _, part: (
                None,
                self.model.apply(
                    {"params": params}, part["audio"], method=self.model.compute_features
                ),
            ),
            None,
            parts,
        )
        rows = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), features)
        _, updated = self.model.apply(
            {"params": params, "codebook": extra},
            rows,
            rngs={"codebook": key},
            mutable=["codebook"],
            method=self.model.start_codebooks,
        )
        return updated["codebook"]

    def part_loss(
        self, params: Tree, extra: Tree, part: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        """Computes the loss of a part; its statistics are (features, codes), by level."""
        if self.decoders_only:
            total, (_, metrics) = self.loss(params, extra, part, key)
            return total, (((), ()), metrics)
        output = self.model.apply(
            {"params": params, "codebook": extra},
            part["audio"],
            train=True,
            rngs={"codebook": key},
        )
        total, levels = total_loss(self.loss_config, self.bandwidth, part["audio"], output)
        codes = tuple(quantized.codes for quantized in output.quantized or ())
        statistics = jax.lax.stop_gradient((output.features if codes else (), codes))
        return total, (statistics, name_metrics(levels))

    def update_extra(self, extra: Tree, statistics: Tree, key: jax.Array) -> tuple[Tree, Metrics]:
        """Updates the codebooks from (features, codes) of the global batch."""
        if not extra or self.decoders_only:
            return extra, {}
        metrics, updated = self.model.apply(
            {"codebook": extra},
            *statistics,
            rngs={"codebook": key},
            mutable=["codebook"],
            method=self.model.update_codebooks,
        )
        return updated["codebook"], name_metrics(metrics)

    # -- Data ------------------------------------------------------------------------------------

    def open_batches(
        self, split: str, rows: np.ndarray | None = None, limit: int | None = None
    ) -> grain.DatasetIterator:
        train = split == "train"
        data = self.config.data
        return pipeline.read_audio_batches(
            data.folder,
            split,
            window=self.window,
            batching=pipeline.Batching(
                batch_size=data.batch_size,
                seed=self.config.seed,
                shuffle=train,
                aug_shift=data.get("aug_shift", True),
                aug_blend=data.get("aug_blend", False),
                aug_gain=data.get("aug_gain", 0.0),
                aug_mute=data.get("aug_mute", 0.0),
                repeat=train,
                rows=rows,
                limit=limit,
            ),
        )

    def batch_shapes(self, examples: int) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            "audio": jax.ShapeDtypeStruct((examples, self.window, 1), jnp.float32),
            "track": jax.ShapeDtypeStruct((examples,), jnp.int32),
        }

    # -- Results ---------------------------------------------------------------------------------

    def reconstruct(self, params: Tree, extra: Tree) -> dict[str, np.ndarray]:
        """Decodes the start of the first held-out track from the codes of each level.

        Returns:
          {"original": float32 [time], "level_0": ...}.
        """
        original = read_excerpt(self.dataset, self.model_config.unit)
        levels = self._decode_levels({"params": params, "codebook": extra}, original[None])
        decoded = {f"level_{level}": to_host(x)[0, :, 0] for level, x in enumerate(levels)}
        return {"original": original[:, 0], **decoded}

    def make_preview(self, params: Tree, extra: Tree) -> Preview | None:
        if self._dataset is None:
            return None
        code_use = {
            f"{name.replace('codebooks', 'level')}_code_use": to_host(codebook["codebook_count"])
            for name, codebook in extra.items()
        }
        sounds = self.reconstruct(params, extra)
        return Preview(sounds, self.sample_rate, code_use, original="original")

    def finish_run(
        self, params: Tree, extra: Tree, workdir: str, evaluation: dict[str, float]
    ) -> dict[str, float]:
        """Writes WORKDIR/reconstruction/*.wav."""
        sounds = self.reconstruct(params, extra)
        if distributed.is_writer():
            folder = Path(workdir) / "reconstruction"
            folder.mkdir(parents=True, exist_ok=True)
            for name, sound in sounds.items():
                audio.write_wav(folder / f"{name}.wav", sound, self.sample_rate)
        return evaluation

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.name,
            "config": to_plain(self.model_config),
            "hops": list(self.model_config.hops),
            "sample_rate": self.sample_rate,
            "bandwidth": to_plain(self.bandwidth),
            **pretrained.describe_origin(self.config),
        }
