"""Figures that need a trained model: what its VQ-VAE loses, what its priors know, how they hear.

Letters: B batch, T seq_len of a prior.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jukejax.analysis import codebook, fidelity
from jukejax.analysis.seams import seam_figures
from jukejax.common.progress import Progress, track
from jukejax.data import audio, corpus, pipeline
from jukejax.data.vocabularies import LenientIds
from jukejax.evaluation.sound_sets import Entry, middle
from jukejax.inference.codec import Codec
from jukejax.inference.conditioning import PriorInputs
from jukejax.inference.extractor import ActivationExtractor
from jukejax.inference.loaded_model import Model
from jukejax.inference.score import compute_window_bits
from jukejax.inference.windows import plan_windows
from jukejax.pages import runs
from jukejax.sampling.start import reroll_span

HOP_FRACTION = 0.5  # of folders that do not say it


def check_rate(codec: Codec) -> None:
    """Sounds are measured at 44.1 kHz, so that is what a model must be made for."""
    if codec.sample_rate != audio.SAMPLE_RATE:
        raise ValueError(
            f"the VQ-VAE is made for {codec.sample_rate} Hz; evaluate measures {audio.SAMPLE_RATE}"
        )


def reconstruct(
    codec: Codec, entries: Sequence[Entry], what: str, *, seconds: float, with_visqol: bool
) -> Iterator[tuple[list[dict[str, float]], list[np.ndarray]]]:
    """Each track through the VQ-VAE and back.

    Args:
      what: the set, for the progress line.
      seconds: of each, from the middle; 0: all.

    Yields:
      For each level the figures of `fidelity.figures` and counts of codes [K].
    """
    size = codec.config.codebook_size
    progress = Progress(f"reconstructing the {what}, tracks", len(entries))
    for done, entry in enumerate(entries, start=1):
        sound = middle(entry.read(), seconds).mean(axis=1, keepdims=True)
        codes, figures = codec.encode(sound), []
        for level, level_codes in enumerate(codes):
            decoded = codec.decode(level_codes, level)[:, 0]
            figures.append(
                fidelity.figures(sound[:, 0], decoded, codec.sample_rate, with_visqol=with_visqol)
            )
        yield figures, [codebook.counts(level, size) for level in codes]
        progress.update(done)


def sampled_counts(folder: Path, levels: int, size: int) -> list[list[np.ndarray]]:
    """Counts of codes [K] in generated tracks: for each level, those of each track that has it."""
    items = runs.read_items(folder)
    return [
        [codebook.counts(codes, size) for codes in runs.read_item_codes(items, level)]
        for level in range(levels)
    ]


def heldout_bits(
    model: Model, folder: str | Path, level: int, *, max_windows: int
) -> dict[str, float]:
    """Bits per code of a level, for each held-out track, teacher-forced.

    Windows lie one after the other, so that the first codes of each know nothing before them; the
    mean of a track's windows. It is what training calls held-out bits.

    Args:
      folder: code shards, made by the model's own VQ-VAE.
      max_windows: at most so many windows, one of each of as many equal stretches; 0: all.

    Raises:
      ValueError: the codes are of another VQ-VAE, or the prior needs what shards do not hold.
    """
    dataset = corpus.open_dataset(folder)
    check_codes(model, dataset)
    config = model.read_config(level)
    if config.lyrics is not None:
        raise ValueError(
            f"the prior of level {level} reads lyrics, which code shards such as {folder} do not "
            "hold; leave --codes away"
        )
    config, weights = model.load_prior(level)
    tracks = dataset.tracks("heldout")
    size = config.seq_len * config.hop_length
    total = sum(track.samples // size for track in tracks)
    if not total:
        raise ValueError(
            f"no held-out track of {folder} is as long as a window of level {level}, "
            f"{size / model.sample_rate:.1f} s"
        )
    wanted = set(range(total))
    if max_windows and total > max_windows:
        # anywhere in its stretch: an even step can fall in with the beat
        edges = np.arange(max_windows + 1) * total // max_windows
        wanted = set(np.random.RandomState(0).randint(edges[:-1], edges[1:]).tolist())
    windows = pipeline.read_code_batches(
        folder,
        "heldout",
        level=level,
        seq_len=config.seq_len,
        max_genres=config.labels.max_genres if config.labels else 1,
        vocabulary=LenientIds(model.read_vocabulary(level)) if config.labels else None,
        batching=pipeline.Batching(batch_size=1, shuffle=False, repeat=False),
    )
    found: dict[str, list[float]] = {}
    progress = Progress(f"bits of level {level}, windows", len(wanted))
    try:
        for number, batch in enumerate(windows):
            if number not in wanted:
                continue
            inputs = PriorInputs(
                jnp.asarray(batch["codes"]),
                jnp.asarray(batch["upper_codes"]) if config.upper is not None else None,
                jnp.asarray(batch["labels"]) if config.labels is not None else None,
            )
            bits = compute_window_bits(config, weights, inputs)
            name = tracks[int(batch["track"][0])].name
            found.setdefault(name, []).append(float(bits.mean()))
            progress.update(sum(map(len, found.values())))
    finally:
        windows.close()
    return {name: float(np.mean(values)) for name, values in found.items()}


def check_codes(model: Model, dataset: corpus.Dataset) -> None:
    """Code shards must be those of the model's VQ-VAE: else their numbers mean other sounds."""
    if dataset.kind != "codes":
        raise ValueError(f"--codes={dataset.folder} holds {dataset.kind}; run encode on it")
    if dataset.info["vqvae"]["hash"] != model.codec.hash:
        raise ValueError(
            f"--codes={dataset.folder} was made by another VQ-VAE than that of {model.folder}; run "
            "encode with this one"
        )


def joins(model: Model, item: runs.Item, level: int) -> list[int]:
    """Codes of a level at which a window took over, in a generated track; [] where not known.

    Windows side by side are joined where their codes agree best, which the folder does not tell:
    `bench decode` measures those.
    """
    side_by_side = item.meta.get("schedule") == "parallel" and level < max(model.levels)
    told = item.meta.get("temperature")
    made = not isinstance(told, dict) or f"level_{level}" in told
    mode = item.meta.get("mode")
    if level not in model.levels or side_by_side or not made:
        return []
    if mode == "upsample" and level == len(model.hops) - 1:
        return []  # it was given
    seconds = item.seconds or 0.0
    total = model.totals(model.top_codes(seconds, round))[level]
    fraction = item.meta.get("hop_fraction")
    fraction = (
        runs.parse_number(fraction.get(f"level_{level}")) if isinstance(fraction, dict) else None
    )
    hop = model.window_hop(level, fraction or HOP_FRACTION)
    given = runs.parse_number(item.meta.get("prompt_seconds")) or 0.0
    given, end = round(given * model.sample_rate / model.hops[level]), total
    if mode == "reroll" and item.meta.get("reroll"):
        given, end = reroll_span(tuple(item.meta["reroll"]), model, level, total)
    plan = plan_windows(end, model.read_config(level).seq_len, hop, given)
    found = [window.start + window.fixed for window in plan if window.start + window.fixed]
    return found + [end] * (end < total)


def seams(
    model: Model, folder: Path, reference: Sequence[Entry]
) -> Iterator[tuple[int, list[dict], list[dict]]]:
    """Figures of `seam_figures` at the joins of generated tracks, level by level.

    Yields:
      Level; figures of each track; and of each reference track at the same places, where nothing
      was joined.
    """
    items = runs.read_items(folder)
    others = [entry.read() for entry in reference[: len(items)]]
    for level in sorted(model.levels, reverse=True):
        found, null = [], []
        for number, item in enumerate(items):
            borders = [at * model.hops[level] for at in joins(model, item, level)]
            if level not in item.wavs or not borders:
                continue
            sound, rate = audio.decode_file(item.wavs[level])
            found.append(seam_figures(sound, rate, borders)._asdict())
            if number < len(others):
                null.append(seam_figures(others[number], audio.SAMPLE_RATE, borders)._asdict())
        if found:
            yield level, found, null


def hidden_states(model: Model, entries: Sequence[Entry], seconds: float) -> list[np.ndarray]:
    """What the coarsest prior makes of tracks: its middle layer, averaged over each window.

    Labels are left "unknown", so that only the sound speaks.

    Args:
      seconds: of each track, from the middle; 0: all.

    Returns:
      For each track float32 [windows, E].
    """
    extractor, found = ActivationExtractor(model), []
    for entry in track(entries, total=len(entries), what="hidden states, tracks"):
        codes = model.codec.encode(middle(entry.read(), seconds))
        activations = extractor.extract_activations(
            codes, layers=[extractor.middle_layer], pooling="mean"
        )
        found.append(activations.values[:, 0])
    return found
