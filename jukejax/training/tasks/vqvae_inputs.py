"""The inputs of the VQ-VAE's task: the levels to train, the bandwidth of a split, an excerpt."""

import itertools

import numpy as np
from ml_collections import ConfigDict

from jukejax.data import corpus, pipeline
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import stft as stft_ops
from jukejax.ops.stft import Bandwidth

BANDWIDTH_SECONDS = 600.0  # of training audio for the measurement of the bandwidth
RECONSTRUCTION_SECONDS = 6.0


def read_decoders_only(config: ConfigDict, model_config: VQVAEConfig) -> tuple[int, ...]:
    """Returns the levels of `config.decoders_only`; none: everything is trained.

    Raises:
      ValueError: a level has no decoder, or there are no weights to start from.
    """
    value = config.get("decoders_only", ())
    levels = tuple(value) if isinstance(value, list | tuple) else (value,)
    decoded = sorted(set(range(model_config.levels)) - set(model_config.synthesized_levels))
    for level in levels:
        if level not in decoded:
            raise ValueError(
                f"config.decoders_only={value} names level {level}; the levels with decoders are "
                f"{', '.join(map(str, decoded))}"
            )
    if levels and not config.get("init_from"):
        raise ValueError(f"config.decoders_only={value} needs config.init_from, a trained VQ-VAE")
    return levels


def measure_split_bandwidth(folder: str, window: int, sample_rate: int) -> Bandwidth:
    """Measures the bandwidth of the training split, on the same windows at every call.

    Args:
      window: samples of a window.
    """
    windows = pipeline.read_audio_batches(
        folder,
        "train",
        window=window,
        batching=pipeline.Batching(batch_size=1, shuffle=True, repeat=False),
    )
    count = int(-(-BANDWIDTH_SECONDS * sample_rate // window))
    try:
        return stft_ops.measure_bandwidth(
            batch["audio"][0] for batch in itertools.islice(windows, count)
        )
    finally:
        windows.close()


def read_excerpt(dataset: corpus.Dataset, hop: int) -> np.ndarray:
    """Reads the start of the first held-out track, mono float32 [time, 1], in whole codes.

    Args:
      hop: samples of a code of the top level.
    """
    track = dataset.read_track("heldout", 0).mean(axis=1, keepdims=True)
    samples = min(len(track), int(RECONSTRUCTION_SECONDS * dataset.info["sample_rate"]))
    return track[: samples // hop * hop]
