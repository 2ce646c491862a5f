"""Bits per code of a model's priors on held-out code shards, teacher-forced."""

from collections.abc import Mapping
from pathlib import Path

import grain
import jax.numpy as jnp
import numpy as np

from jukejax.common.progress import Progress
from jukejax.data import corpus, pipeline
from jukejax.data.vocabularies import LenientIds
from jukejax.inference.conditioning import PriorInputs
from jukejax.inference.loaded_model import Model
from jukejax.inference.score import compute_window_bits
from jukejax.models.prior import PriorConfig


def check_codes(model: Model, dataset: corpus.Dataset) -> None:
    """Checks that code shards are those of the model's VQ-VAE.

    Raises:
      ValueError: the shards are not codes, or codes of another VQ-VAE.
    """
    if dataset.kind != "codes":
        raise ValueError(f"--codes={dataset.folder} holds {dataset.kind}; run encode on it")
    if dataset.info["vqvae"]["hash"] != model.codec.hash:
        raise ValueError(
            f"--codes={dataset.folder} was made by another VQ-VAE than that of {model.folder}; run "
            "encode with this one"
        )


def measure_heldout_bits(
    model: Model, folder: str | Path, level: int, *, max_windows: int
) -> dict[str, float]:
    """Computes the bits per code of a level for each held-out track, as training does.

    Windows do not overlap, so that the first codes of each are predicted without earlier ones. A
    track's figure is the mean of its windows.

    Args:
      folder: code shards, encoded by the model's own VQ-VAE.
      max_windows: largest number of windows, one from each of as many equal sections; 0: all.

    Raises:
      ValueError: the codes are of another VQ-VAE, no track is as long as a window, or the prior
        needs lyrics, which shards do not contain.
    """
    dataset = corpus.open_dataset(folder)
    check_codes(model, dataset)
    if model.read_config(level).lyrics is not None:
        raise ValueError(
            f"the prior of level {level} reads lyrics, which code shards such as {folder} do not "
            "hold; remove --codes"
        )
    config, weights = model.load_prior(level)
    tracks = dataset.tracks("heldout")
    window_samples = config.seq_len * config.hop_length
    total = sum(track.samples // window_samples for track in tracks)
    if not total:
        raise ValueError(
            f"no held-out track of {folder} is as long as a window of level {level}, "
            f"{window_samples / model.sample_rate:.1f} s"
        )
    chosen = _choose_windows(total, max_windows)
    bits: dict[str, list[float]] = {}
    progress = Progress(f"bits of level {level}, windows", len(chosen))
    windows = _open_windows(model, config, folder)
    try:
        for number, batch in enumerate(windows):
            if number not in chosen:
                continue
            batch_bits = compute_window_bits(config, weights, _select_inputs(config, batch))
            name = tracks[int(batch["track"][0])].name
            bits.setdefault(name, []).append(float(batch_bits.mean()))
            progress.update(sum(map(len, bits.values())))
    finally:
        windows.close()
    return {name: float(np.mean(values)) for name, values in bits.items()}


def _choose_windows(total: int, max_windows: int) -> set[int]:
    """Returns the numbers of the windows to measure.

    They are drawn at random within equal sections: an even step could coincide with the beat.
    """
    if not max_windows or total <= max_windows:
        return set(range(total))
    edges = np.arange(max_windows + 1) * total // max_windows
    return set(np.random.RandomState(0).randint(edges[:-1], edges[1:]).tolist())


def _open_windows(model: Model, config: PriorConfig, folder: str | Path) -> grain.DatasetIterator:
    return pipeline.read_code_batches(
        folder,
        "heldout",
        level=config.level,
        seq_len=config.seq_len,
        sizes=config.labels,
        vocabulary=LenientIds(model.read_vocabulary(config.level)) if config.labels else None,
        batching=pipeline.Batching(batch_size=1, shuffle=False, repeat=False),
    )


def _select_inputs(config: PriorConfig, batch: Mapping[str, np.ndarray]) -> PriorInputs:
    return PriorInputs(
        jnp.asarray(batch["codes"]),
        jnp.asarray(batch["upper_codes"]) if config.upper is not None else None,
        jnp.asarray(batch["labels"]) if config.labels is not None else None,
    )
