"""A small prior that is trained on code shards with lyrics reads them, and aligns them.

There is no sound: the code of a letter lasts as long as the letter is sung.
"""

import sys

import jax
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from jukejax.data.corpus import Track
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.evaluation.heldout_bits import measure_heldout_bits
from jukejax.inference.loaded_model import Model
from jukejax.sampling.lyric_alignment import Aligner
from jukejax.sampling.songs import open_songs
from jukejax.training.tasks.prior import PriorTask
from jukejax.weights import bundle
from tests.support import small_bundle

LETTERS, LENGTH, STEPS = "aeiou", 160, 500


def sing(random):
    """Returns a text, the codes of its letters [LENGTH], and the code at which each begins."""
    durations = random.integers(4, 9, LENGTH // 4)
    starts = np.concatenate([[0], np.cumsum(durations)])
    count = int(np.searchsorted(starts, LENGTH - 4))
    letters = [int(random.integers(len(LETTERS)))]
    while len(letters) < count:  # no letter is sung twice in a row
        letters.append((letters[-1] + int(random.integers(1, len(LETTERS)))) % len(LETTERS))
    codes = np.repeat(letters, np.diff([*starts[:count], LENGTH]))
    return " ".join(LETTERS[i] for i in letters), codes, starts[:count]


def write_shards(folder):
    random = np.random.default_rng(0)
    songs = [sing(random) for _ in range(420)]
    vocabulary = Vocabulary.build(["anna"], ["house"], [text for text, _, _ in songs])
    info = {"codebook_size": 16, "vqvae": small_bundle.identify_vqvae()}
    with DatasetWriter(folder, kind="codes", vocabulary=vocabulary, **info) as writer:
        for number, (text, codes, starts) in enumerate(songs):
            levels = {f"level_{k}": np.zeros(LENGTH * 4 ** (2 - k), int) for k in (0, 1)}
            times = tuple((2 * i, start * 128 / 44100) for i, start in enumerate(starts))
            track = Track(f"t{number}", "anna", ("house",), lyrics=text, lyric_times=times)
            split = "heldout" if number < 20 else "train"
            writer.add(split, track, level_2=codes, **levels)
    return vocabulary


def train(folder, kind):
    """Trains a prior; returns the task and its parameters."""
    lyrics = dict(kind=kind, num_tokens=32, alphabet="unicode")
    if kind == "separate":
        stack = dict(emb_dim=64, num_layers=2, num_heads=2, seq_len=32, num_blocks=4, attn_order=0)
        lyrics["encoder"] = stack
    order, layers = (0, 3) if kind == "single" else (6, 4)
    transformer = dict(
        emb_dim=64,
        num_layers=layers,
        num_heads=2,
        seq_len=64,
        num_blocks=8,
        attn_order=order,
        attn_ratio=1.0,
    )
    labels = dict(max_genres=2, min_duration=0.0, max_duration=1.0, timing_bins=32)
    config = ConfigDict(
        dict(
            task="prior",
            seed=0,
            dtype="float32",
            data=dict(folder=str(folder), batch_size=24),
            model=dict(level=2, transformer=transformer, labels=labels, lyrics=lyrics),
        )
    )
    task = PriorTask(config)
    params, _ = jax.device_get(task.init_params(jax.random.key(0)))
    params = jax.tree.map(
        lambda leaf: getattr(leaf, "value", leaf),
        params,
        is_leaf=lambda leaf: hasattr(leaf, "value"),
    )
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0.0, 4e-3, 30, STEPS))

    @jax.jit
    def step(params, state, batch):
        loss = lambda params: task.loss(params, {}, batch, jax.random.key(0))  # noqa: E731
        (_, (_, metrics)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, metrics

    state = optimizer.init(params)
    for number, batch in zip(range(STEPS), task.open_batches("train"), strict=False):
        params, state, metrics = step(params, state, batch)
        if number % 50 == 49:
            figures = {name: round(float(value), 3) for name, value in metrics.items()}
            print(number + 1, figures, file=sys.stderr, flush=True)
    return task, jax.device_get(params)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single", "separate"])
def test_lyrics_save_bits_and_are_aligned(tmp_path, kind):
    vocabulary = write_shards(tmp_path / "codes")
    task, params = train(tmp_path / "codes", kind)
    description = task.describe() | {"vocabulary": vocabulary.plain()}
    bundle.save_part(tmp_path / "m/level_2", description, {"params": params, "extra": {}})
    codec = small_bundle.VQVAE
    weights = small_bundle.random_weights(codec)
    bundle.save_part(tmp_path / "m/vqvae", small_bundle.describe(codec), weights)
    bundle.save_bundle(
        tmp_path / "m", small_bundle.FACTS | {"levels": [2], "vocabulary": vocabulary.plain()}
    )
    model = Model(tmp_path / "m")
    figures = measure_heldout_bits(model, tmp_path / "codes", 2, max_windows=0).values()
    saved = np.mean([values["lyric_bits"] for values in figures])
    bits = np.mean([values["bits_per_code"] for values in figures])
    aligner = Aligner(model)
    heads = aligner.find_head(aligner.open_heldout_windows(tmp_path / "codes", 20))
    songs = list(open_songs(model, 2, tmp_path / "codes"))
    results = [aligner.align(song, tmp_path / "out", hop_fraction=0.25) for song in songs]
    ours, even = (
        np.concatenate([getattr(result, name) for result in results]) / (128 / 44100)
        for name in ("errors", "even_errors")
    )
    near, near_even = (float((errors <= 5).mean()) for errors in (ours, even))
    print(
        f"{kind}: {bits:.3f} bits per code, {saved:.3f} saved by lyrics; {heads[0]}; starts within "
        f"5 codes: {near:.1%}, of an even spread {near_even:.1%}",
        file=sys.stderr,
    )
    assert saved > 0.02
    assert heads[0].monotonicity > 0.1
    assert near > 0.7
    assert near > near_even
