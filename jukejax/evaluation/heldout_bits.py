"""Bits per code of a model's priors on held-out code shards, teacher-forced, and what labels do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import grain
import jax.numpy as jnp
import numpy as np

from jukejax.common.progress import Progress
from jukejax.data import corpus, pipeline
from jukejax.data.corpus import Track
from jukejax.data.epochs import count_windows
from jukejax.data.labels import LENGTH, OFFSET, TOTAL, remove_names
from jukejax.data.lyrics import LyricsReader
from jukejax.data.vocabularies import LenientIds
from jukejax.inference.conditioning import PriorInputs, PriorWeights
from jukejax.inference.loaded_model import Model
from jukejax.inference.score import WindowScores, score_windows
from jukejax.models.prior_config import PriorConfig
from jukejax.weights.codec_identity import compare_codecs


def check_codes(model: Model, dataset: corpus.Dataset) -> None:
    """Checks that code shards are those of the model's VQ-VAE.

    Raises:
      ValueError: the shards are not codes, or codes of another VQ-VAE.
    """
    if dataset.kind != "codes":
        raise ValueError(f"--codes={dataset.folder} holds {dataset.kind}; run encode on it")
    if not compare_codecs(dataset.info.get("vqvae"), model.codec.identity):
        raise ValueError(
            f"--codes={dataset.folder} was made by another VQ-VAE than that of {model.folder}; run "
            "encode with this one"
        )


def measure_heldout_bits(
    model: Model, folder: str | Path, level: int, *, max_windows: int
) -> dict[str, dict[str, float]]:
    """Computes figures of a level's predictions for each held-out track, as training does.

    Windows do not overlap, so that the first codes of each are predicted without earlier ones. A
    track's figure is the mean of its windows.

    Args:
      folder: code shards, encoded by the model's own VQ-VAE.
      max_windows: largest number of windows, one from each of as many equal sections; 0: all.

    Returns:
      By track: bits_per_code, num_codes; for tracks of a known artist or genre, of a prior with
      labels, also label_changes and label_bits (see `_compare_labels`); for tracks with lyrics, of
      a prior with lyrics, also lyric_bits: bits per code that they save, compared with the lyrics
      of another track.

    Raises:
      ValueError: the codes are of another VQ-VAE, or no track is as long as a window.
    """
    dataset = corpus.open_dataset(folder)
    check_codes(model, dataset)
    config, weights = model.load_prior(level)
    tracks = dataset.tracks("heldout")
    window_samples = config.seq_len * config.hop_length
    total = count_windows(tracks, window_samples)
    if not total:
        raise ValueError(
            f"no held-out track of {folder} is as long as a window of level {level}, "
            f"{window_samples / model.sample_rate:.1f} s"
        )
    chosen = _choose_windows(total, max_windows)
    figures: dict[str, list[dict[str, float]]] = {}
    progress = Progress(f"bits of level {level}, windows", len(chosen))
    reader = model.read_lyrics_reader(level) if config.lyrics is not None else None
    windows = _open_windows(model, config, folder, reader)
    try:
        for number, batch in enumerate(windows):
            if number not in chosen:
                continue
            track = int(batch["track"][0])
            other = None if reader is None else _swap_lyrics(batch, reader, tracks, track)
            measured = _measure_window(config, weights, batch, other)
            figures.setdefault(tracks[track].name, []).append(measured)
            progress.update(sum(map(len, figures.values())))
    finally:
        windows.close()
    return {name: _average_windows(of_windows) for name, of_windows in figures.items()}


def _measure_window(
    config: PriorConfig,
    weights: PriorWeights,
    batch: Mapping[str, np.ndarray],
    other_lyrics: np.ndarray | None,
) -> dict[str, float]:
    """Computes the figures of one window.

    Args:
      other_lyrics: labels of the window with the lyrics of another track.
    """
    scores = score_windows(config, weights, _select_inputs(config, batch))
    figures = {"bits_per_code": float(scores.bits.mean()), "num_codes": float(scores.bits.size)}
    if config.labels is None:
        return figures
    if other_lyrics is not None:
        inputs = _select_inputs(config, {**batch, "labels": other_lyrics})
        bits = score_windows(config, weights, inputs).bits
        figures["lyric_bits"] = float((bits - scores.bits).mean())
    unnamed = {**batch, "labels": remove_names(batch["labels"], config.labels.max_genres)}
    if np.array_equal(unnamed["labels"], batch["labels"]):
        return figures
    return figures | _compare_labels(
        scores, score_windows(config, weights, _select_inputs(config, unnamed))
    )


def _compare_labels(named: WindowScores, unnamed: WindowScores) -> dict[str, float]:
    """Computes the share of codes whose most likely value the labels change, and the bits saved.

    Args:
      named, unnamed: scores with the track's artist and genres, and with "unknown".
    """
    return {
        "label_changes": float((named.most_likely != unnamed.most_likely).mean()),
        "label_bits": float((unnamed.bits - named.bits).mean()),
    }


def _average_windows(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the mean of each figure over the windows of a track, and the sum of its codes."""
    names = dict.fromkeys(name for x in figures for name in x)
    means = {name: float(np.mean([x[name] for x in figures if name in x])) for name in names}
    return means | {"num_codes": sum(x["num_codes"] for x in figures)}


def _choose_windows(total: int, max_windows: int) -> set[int]:
    """Returns the numbers of the windows to measure.

    They are drawn at random within equal sections: an even step could coincide with the beat.
    """
    if not max_windows or total <= max_windows:
        return set(range(total))
    edges = np.arange(max_windows + 1) * total // max_windows
    return set(np.random.RandomState(0).randint(edges[:-1], edges[1:]).tolist())


def _swap_lyrics(
    batch: Mapping[str, np.ndarray], reader: LyricsReader, tracks: Sequence[Track], number: int
) -> np.ndarray | None:
    """Returns the labels of a window of track `number` with the lyrics of the next one that differ.

    Returns:
      None if the track has no lyrics, or no other has.
    """
    own = tracks[number].lyrics
    following = (track.lyrics for track in [*tracks[number + 1 :], *tracks[:number]])
    text = next((text for text in following if text and text != own), None)
    if not own or text is None:
        return None
    labels = batch["labels"].copy()
    tokens = reader.encode(text)
    for row in labels:
        total, offset, length = (int(row[column]) for column in (TOTAL, OFFSET, LENGTH))
        row[-reader.num_tokens :] = reader.read_window(tokens, total, offset, length)
    return labels


def _open_windows(
    model: Model, config: PriorConfig, folder: str | Path, reader: LyricsReader | None
) -> grain.DatasetIterator:
    return pipeline.read_code_batches(
        folder,
        "heldout",
        level=config.level,
        seq_len=config.seq_len,
        sizes=config.labels,
        vocabulary=LenientIds(model.read_vocabulary(config.level)) if config.labels else None,
        lyrics_reader=reader,
        reference=config.has_reference,
        batching=pipeline.Batching(batch_size=1, shuffle=False, repeat=False),
    )


def _select_inputs(config: PriorConfig, batch: Mapping[str, np.ndarray]) -> PriorInputs:
    return PriorInputs(
        jnp.asarray(batch["codes"]),
        jnp.asarray(batch["upper_codes"]) if config.upper is not None else None,
        jnp.asarray(batch["labels"]) if config.labels is not None else None,
    )
