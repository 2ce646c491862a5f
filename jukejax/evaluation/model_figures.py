"""Figures that need a trained model: errors of its VQ-VAE, use of its codes, hidden states."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jukejax.analysis import codebook, fidelity
from jukejax.common.progress import Progress, track_progress
from jukejax.data import audio
from jukejax.data.sample_items import read_item_codes, read_items
from jukejax.evaluation.sound_sets import Entry
from jukejax.inference.codec import Codec
from jukejax.inference.extractor import ActivationExtractor
from jukejax.inference.loaded_model import Model


def check_rate(codec: Codec) -> None:
    """Checks that the sample rate of a VQ-VAE is that of the measured sounds.

    Raises:
      ValueError: it is not.
    """
    if codec.sample_rate != audio.SAMPLE_RATE:
        raise ValueError(
            f"the VQ-VAE is made for {codec.sample_rate} Hz; evaluate measures {audio.SAMPLE_RATE}"
        )


def reconstruct_tracks(
    codec: Codec, entries: Sequence[Entry], name: str, *, seconds: float, with_visqol: bool
) -> Iterator[tuple[list[dict[str, float | None]], list[np.ndarray]]]:
    """Encodes and decodes each track at every level and measures the errors.

    Args:
      name: of the set, for the progress line.
      seconds: of each track, from its middle; 0: all.

    Yields:
      For each level the figures of `fidelity.measure_fidelity` and counts of codes [K].
    """
    size = codec.config.codebook_size
    progress = Progress(f"reconstructing the {name}, tracks", len(entries))
    for done, entry in enumerate(entries, start=1):
        sound = entry.read(seconds).mean(axis=1, keepdims=True)
        codes, figures = codec.encode(sound), []
        for level, level_codes in enumerate(codes):
            decoded = codec.decode(level_codes, level)[:, 0]
            figures.append(
                fidelity.measure_fidelity(
                    sound[:, 0], decoded, codec.sample_rate, with_visqol=with_visqol
                )
            )
        yield figures, [codebook.count_codes(level_codes, size) for level_codes in codes]
        progress.update(done)


def count_sampled_codes(folder: Path, levels: int, size: int) -> list[list[np.ndarray]]:
    """Counts the codes of generated tracks.

    Returns:
      For each level the counts [K] of each track with codes of that level.
    """
    codes = read_item_codes(read_items(folder))
    return [
        [codebook.count_codes(item[level], size) for item in codes if level in item]
        for level in range(levels)
    ]


def compute_hidden_states(
    model: Model, entries: Sequence[Entry], seconds: float
) -> list[np.ndarray]:
    """Computes activations of the coarsest prior's middle layer, averaged over each window.

    Labels are "unknown", so that the activations depend on the audio alone.

    Args:
      seconds: of each track, from the middle; 0: all.

    Returns:
      For each track float32 [windows, E].
    """
    extractor, states = ActivationExtractor(model), []
    for entry in track_progress(entries, total=len(entries), label="hidden states, tracks"):
        codes = model.codec.encode(entry.read(seconds))
        activations = extractor.extract_activations(
            codes, layers=[extractor.middle_layer], pooling="mean"
        )
        states.append(activations.values[:, 0])
    return states
