"""Training the VQ-VAE on audio shards (Jukebox paper, section 3.1 and appendix B.1)."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jukejax.common.config import check_keys, freeze, plain
from jukejax.data import audio, corpus, pipeline
from jukejax.models.layers import start_params
from jukejax.models.vqvae import VQVAE, VQVAEConfig, VQVAEOutput
from jukejax.ops import quantize
from jukejax.ops import stft as stft_ops
from jukejax.ops.stft import STFT, Bandwidth
from jukejax.runtime import distributed, precision
from jukejax.training import finetune, flops
from jukejax.training.task import Preview, Task, WholeBatch, data_facts, to_host

KIND = "vqvae"
DATA_KEYS = ("folder", "window", "batch_size", "aug_shift", "aug_blend")
BANDWIDTH_SECONDS = 600.0  # of training audio that the bandwidth is measured on
RECONSTRUCTION_SECONDS = 6.0
RECONS = ("l1", "l2", "linf", "lmix")


@dataclass(frozen=True)
class LossConfig:
    """What the VQ-VAE minimises, for each level; the defaults are those of the released model.

    Attributes:
      recons: distance of the waveforms: "l1", "l2", "linf", or "lmix", their weighted sum.
      lmix_l1, lmix_l2, lmix_linf: the weights in it.
      linf_k: "linf" is the mean of so many largest squared residuals of a window.
      spectral: weight of the distance of magnitude spectrograms.
      relative_spectral: measure that distance relative to the target's norm (spectral convergence)
        instead of the data set's bandwidth.
      multispectral: weight of the same distance, averaged over several resolutions.
      multispectral_n_fft, multispectral_hop, multispectral_window: those resolutions, in samples.
      commit: weight of the distance between features and codes.
    """

    recons: str = "lmix"
    lmix_l1: float = 0.0
    lmix_l2: float = 1.0
    lmix_linf: float = 0.02
    linf_k: int = 2048
    spectral: float = 0.0
    relative_spectral: bool = False
    multispectral: float = 1.0
    multispectral_n_fft: tuple[int, ...] = (2048, 1024, 512)
    multispectral_hop: tuple[int, ...] = (240, 120, 50)
    multispectral_window: tuple[int, ...] = (1200, 600, 240)
    commit: float = 0.02

    def __post_init__(self):
        if self.recons not in RECONS:
            raise ValueError(f"loss.recons is {self.recons!r}; known: {', '.join(RECONS)}")
        shapes = (self.multispectral_n_fft, self.multispectral_hop, self.multispectral_window)
        if len({len(shape) for shape in shapes}) != 1:
            raise ValueError(
                "loss.multispectral_n_fft, _hop and _window must have equally many entries, not "
                f"{shapes}"
            )

    @property
    def stfts(self) -> tuple[STFT, ...]:
        """The resolutions of the multispectral loss."""
        return tuple(
            STFT(n_fft, hop, window)
            for n_fft, hop, window in zip(
                self.multispectral_n_fft,
                self.multispectral_hop,
                self.multispectral_window,
                strict=True,
            )
        )


def recons_loss(
    kind: str, loss: LossConfig, bandwidth: Bandwidth, target: jax.Array, output: jax.Array
) -> jax.Array:
    """Distance of the waveforms [B, T, C] in units of the data set's bandwidth. -> scalar."""
    if kind == "l1":
        return stft_ops.l1(target, output) / bandwidth.l1
    if kind == "l2":
        return stft_ops.l2(target, output) / bandwidth.l2
    if kind == "linf":
        return stft_ops.linf(target, output, k=loss.linf_k) / bandwidth.l2
    weights = {"l1": loss.lmix_l1, "l2": loss.lmix_l2, "linf": loss.lmix_linf}
    return sum(
        weight * recons_loss(part, loss, bandwidth, target, output)
        for part, weight in weights.items()
        if weight
    )


def level_losses(
    loss: LossConfig, bandwidth: Bandwidth, target: jax.Array, output: jax.Array
) -> dict[str, jax.Array]:
    """How far one level's audio [B, T, C] is from the target: scalars, before their weights."""
    convergence = jnp.mean(stft_ops.spectral_convergence(target, output))
    if loss.relative_spectral:
        spectral = convergence
    else:
        spectral = jnp.mean(stft_ops.spectral_loss(target, output)) / bandwidth.spec
    multispectral = jnp.mean(stft_ops.multispectral_loss(target, output, loss.stfts))
    return {
        "recons": recons_loss(loss.recons, loss, bandwidth, target, output),
        "spectral": spectral,
        "multispectral": multispectral / bandwidth.spec,
        "spectral_convergence": convergence,
    }


def total_loss(
    loss: LossConfig, bandwidth: Bandwidth, target: jax.Array, output: VQVAEOutput
) -> tuple[jax.Array, tuple[dict[str, jax.Array], ...]]:
    """The loss, and what it is made of by level (before the weights)."""
    total = jnp.zeros(())
    levels = []
    for level, decoded in enumerate(output.audio):
        parts = level_losses(loss, bandwidth, target, decoded)
        total += parts["recons"]
        for name, weight in (("spectral", loss.spectral), ("multispectral", loss.multispectral)):
            if weight:  # a term of weight 0 is logged, and needs no gradient
                total += weight * parts[name]
        if output.quantised is not None:
            quantised = output.quantised[level]
            total += loss.commit * quantised.commit
            parts |= {"commit": quantised.commit, "fit": quantised.fit, "pn": quantised.pn}
            parts |= output.metrics[level]
        levels.append(parts)
    return total, tuple(levels)


def named_metrics(levels: tuple[dict[str, jax.Array], ...]) -> dict[str, jax.Array]:
    """Metrics by level to "level_k/name"; the codes' entropy in bits."""
    named = {
        f"level_{k}/{name}": value
        for k, parts in enumerate(levels)
        for name, value in parts.items()
    }
    return {
        name: value / jnp.log(2.0) if name.endswith("/entropy") else value
        for name, value in named.items()
    }


def measure_bandwidth(folder: str, window: int, sample_rate: int) -> Bandwidth:
    """The training split's bandwidth over windows as the model sees them; always the same."""
    windows = pipeline.read_audio_batches(
        folder,
        "train",
        window=window,
        batching=pipeline.Batching(batch_size=1, shuffle=True, repeat=False),
    )
    wanted = -(-BANDWIDTH_SECONDS * sample_rate // window)
    try:
        first = itertools.islice(windows, int(wanted))
        return stft_ops.bandwidth(batch["audio"][0] for batch in first)
    finally:
        windows.close()


def check_window(config: VQVAEConfig, loss: LossConfig, window: int) -> None:
    """Window sizes that cannot work, said before anything is read."""
    if window % config.hops[-1]:
        raise ValueError(
            f"data.window {window} is no multiple of the top level's {config.hops[-1]} samples a "
            f"code; take {max(1, round(window / config.hops[-1])) * config.hops[-1]}"
        )
    largest = max((stft_ops.SINGLE.n_fft, *loss.multispectral_n_fft))
    if window <= largest // 2:
        raise ValueError(
            f"data.window {window} is too short for an STFT of {largest} samples: take more than "
            f"{largest // 2}"
        )
    uses_linf = loss.recons == "linf" or (loss.recons == "lmix" and loss.lmix_linf)
    if uses_linf and loss.linf_k > window * config.channels:
        raise ValueError(f"loss.linf_k {loss.linf_k} exceeds data.window {window}: lower it")


def make(config: ml_collections.ConfigDict, *, with_data: bool = True) -> Task:
    """A task from `config.model` (`VQVAEConfig`), `config.loss` (`LossConfig`) and `config.data`
    (folder of audio shards, window in samples, batch_size; for the training split aug_shift, random
    crops, and aug_blend, random shares of the two channels: see `pipeline.read_audio_batches`).

    Args:
      with_data: False: a task to be planned or compiled, whose data need not be there.
    """
    frozen = freeze(VQVAEConfig, config.model, "config.model")
    check_keys(config.data, DATA_KEYS, "config.data")
    loss_config = freeze(LossConfig, config.get("loss", {}), "config.loss")
    if frozen.channels != 1:
        raise ValueError(f"config.model.channels is {frozen.channels}: audio shards are read mono")
    folder, window = config.data.folder, config.data.window
    check_window(frozen, loss_config, window)
    finetune.check_model(config, frozen)
    dataset, sample_rate, bandwidth = None, audio.SAMPLE_RATE, Bandwidth(1.0, 1.0, 1.0)
    if with_data:
        dataset = corpus.open_dataset(folder)
        if dataset.kind != "audio":
            raise ValueError(
                f"data.folder {folder} holds {dataset.kind}; give the output of prepare"
            )
        sample_rate = dataset.info["sample_rate"]
        bandwidth = measure_bandwidth(folder, window, sample_rate)
    model = VQVAE(frozen, precision.compute_dtype(config.dtype))

    def init(key: jax.Array):
        shapes = jax.eval_shape(model.init, key, jnp.zeros((1, frozen.hops[-1], 1)))
        params = start_params(shapes["params"], key, zero_out=frozen.zero_out)
        books = {
            name: quantize.empty(frozen.codebook_size, frozen.emb_dim)._asdict()
            for name in shapes.get("codebook", {})
        }
        return params, books

    def loss(params, extra, batch, key):
        output, moved = model.apply(
            {"params": params, "codebook": extra},
            batch["audio"],
            train=True,
            rngs={"codebook": key},
            mutable=["codebook"],
        )
        total, levels = total_loss(loss_config, bandwidth, batch["audio"], output)
        return total, (moved.get("codebook", {}), named_metrics(levels))

    def begin(params, extra, parts, key):
        """Empty codebooks start from the whole batch, which takes a pass through the encoders."""

        def start():
            _, features = jax.lax.scan(
                lambda _, part: (
                    None,
                    model.apply({"params": params}, part["audio"], method=model.features),
                ),
                None,
                parts,
            )
            rows = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), features)
            return model.apply(
                {"params": params, "codebook": extra},
                rows,
                rngs={"codebook": key},
                mutable=["codebook"],
                method=model.start_codebooks,
            )[1]["codebook"]

        started = [state["initialised"] for state in extra.values()]
        return jax.lax.cond(jnp.stack(started).all(), lambda: extra, start) if extra else extra

    def part_loss(params, extra, batch, key):
        del key
        output = model.apply({"params": params, "codebook": extra}, batch["audio"], train=True)
        total, levels = total_loss(loss_config, bandwidth, batch["audio"], output)
        codes = tuple(quantised.codes for quantised in output.quantised or ())
        kept = jax.lax.stop_gradient((output.features if codes else (), codes))
        return total, (kept, named_metrics(levels))

    def end(extra, kept, key):
        if not extra:
            return extra, {}
        metrics, moved = model.apply(
            {"codebook": extra},
            *kept,
            rngs={"codebook": key},
            mutable=["codebook"],
            method=model.move_codebooks,
        )
        return moved["codebook"], named_metrics(metrics)

    def evaluate(params, extra, batch):
        output = model.apply({"params": params, "codebook": extra}, batch["audio"])
        _, levels = total_loss(loss_config, bandwidth, batch["audio"], output)
        if output.quantised is not None:
            threshold = frozen.restart_threshold
            for level, parts in enumerate(levels):
                state = quantize.Codebook(**extra[f"codebooks_{level}"])
                codes = output.quantised[level].codes.reshape(-1)
                counts = jnp.bincount(codes, length=frozen.codebook_size)
                parts |= quantize.code_statistics(counts, threshold=threshold)
                parts["usage"] = quantize.usage(state, threshold=threshold)
        return named_metrics(levels)

    def batch_shapes(examples: int) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            "audio": jax.ShapeDtypeStruct((examples, window, 1), jnp.float32),
            "track": jax.ShapeDtypeStruct((examples,), jnp.int32),
        }

    def batches(split: str, rows: np.ndarray | None = None) -> Iterator[dict]:
        train = split == "train"
        return pipeline.read_audio_batches(
            folder,
            split,
            window=window,
            batching=pipeline.Batching(
                batch_size=config.data.batch_size,
                seed=config.seed,
                shuffle=train,
                aug_shift=config.data.get("aug_shift", True),
                aug_blend=config.data.get("aug_blend", False),
                repeat=train,
                rows=rows,
            ),
        )

    decoded = jax.jit(lambda variables, sound: model.apply(variables, sound).audio)

    def reconstruction(params, extra) -> dict[str, np.ndarray]:
        """The start of a held-out track as it is, and out of each level's codes; [time] each."""
        original = first_seconds(dataset, frozen.hops[-1])
        levels = decoded({"params": params, "codebook": extra}, original[None])
        sounds = {f"level_{level}": to_host(x)[0, :, 0] for level, x in enumerate(levels)}
        return {"original": original[:, 0], **sounds}

    def preview(params, extra) -> Preview:
        use = {
            f"{name.replace('codebooks', 'level')}_code_use": to_host(book["codebook_count"])
            for name, book in extra.items()
        }
        return Preview(reconstruction(params, extra), sample_rate, use, original="original")

    def finish(params, extra, workdir: str, evaluation: dict[str, float]) -> dict:
        sounds = reconstruction(params, extra)
        if distributed.is_writer():
            folder = Path(workdir) / "reconstruction"
            folder.mkdir(parents=True, exist_ok=True)
            for name, sound in sounds.items():
                audio.write_wav(folder / f"{name}.wav", sound, sample_rate)
        return evaluation

    def describe() -> dict:
        return {
            "kind": KIND,
            "config": plain(frozen),
            "hops": list(frozen.hops),
            "sample_rate": sample_rate,
            "bandwidth": plain(bandwidth),
            **finetune.origin(config),
        }

    return Task(
        name=KIND,
        init=init,
        loss=loss,
        evaluate=evaluate,
        batches=batches,
        batch_shapes=batch_shapes,
        finish=finish,
        describe=describe,
        example_codes=window,
        **data_facts(dataset, window),
        whole_batch=WholeBatch(begin, part_loss, end),
        preview=preview if dataset else None,
        work=flops.vqvae(frozen, window, used_stfts(loss_config)),
    )


def used_stfts(loss: LossConfig) -> tuple[STFT, ...]:
    """The spectrograms that the loss is made of."""
    single = (stft_ops.SINGLE,) if loss.spectral else ()
    return single + (loss.stfts if loss.multispectral else ())


def first_seconds(dataset: corpus.Dataset, hop: int) -> np.ndarray:
    """The start of the first held-out track, mono float32 [time, 1], in whole codes."""
    whole = dataset.read_track("heldout", 0).mean(axis=1, keepdims=True)
    wanted = min(len(whole), int(RECONSTRUCTION_SECONDS * dataset.info["sample_rate"]))
    return whole[: wanted // hop * hop]
