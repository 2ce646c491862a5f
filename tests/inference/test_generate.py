"""Sampling of levels, with priors whose weights are set so that the right answer is known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference import budget, window_runners
from jukejax.inference.conditioning import Labels, make_window_labels, prepare_weights
from jukejax.inference.generate import (
    LevelTracks,
    SamplingSettings,
    make_item_keys,
    sample_level,
)
from jukejax.inference.token_loop import NO_FILTER, gumbel_noise
from jukejax.inference.window_program import WindowInputs, sample_windows
from jukejax.models.prior import Prior
from jukejax.weights.part_configs import find_prior_shapes
from tests.support.small_priors import LYRICS, SEQ_LEN, TOP, UPSAMPLER, VOCAB


def make_counting_weights(scale):
    """Returns a top prior that predicts the previous code plus one, `scale` above all others.

    Every layer is zero, so the residual stream holds the previous code's one-hot embedding.
    """
    codes = jnp.zeros((1, SEQ_LEN), jnp.int32)
    shapes = nn.meta.unbox(jax.eval_shape(Prior(TOP).init, jax.random.key(0), codes))["params"]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    inner = params["autoregressive"]
    inner["code_embedding"] = np.eye(VOCAB, dtype=np.float32)
    inner["start_token"] = np.eye(VOCAB, dtype=np.float32)[-1:]
    inner["output"] = scale * np.roll(np.eye(VOCAB, dtype=np.float32), 1, axis=0)
    return prepare_weights(TOP, params, jnp.float32)


@pytest.fixture(autouse=True)
def one_batch_at_once(monkeypatch):
    """Lets these tests see the windows of all items in one batch."""
    monkeypatch.setattr(budget, "CPU_BATCHES", 1)


COUNTING, NOISE = make_counting_weights(50.0), make_counting_weights(0.0)


def sample(weights=COUNTING, *, total, hop=3, prompt=None, temperature=0.0, items=range(2)):
    """Returns the codes after each window."""
    tracks = LevelTracks(
        total=total,
        codes=np.zeros((len(items), 0), np.int32) if prompt is None else prompt,
        upper_codes=None,
        labels=[],
        keys=make_item_keys(0, items, TOP.level),
    )
    settings = SamplingSettings(window_hop=hop, temperature=temperature)
    return [progress.codes for progress in sample_level(TOP, weights, tracks, settings)]


@pytest.mark.parametrize("total", [4, 6, 17])
def test_codes_continue_across_windows(total):
    *_, codes = sample(total=total)
    np.testing.assert_array_equal(codes, np.tile(np.arange(total) % VOCAB, (2, 1)))


@pytest.mark.parametrize("length", [1, 5, 6, 9])
def test_prompts_are_kept_and_continued(length):
    """Prompts that end inside the first window, at its end, and past it; other for each item."""
    rng = np.random.default_rng(length)
    prompt = rng.integers(VOCAB, size=(2, length)).astype(np.int32)
    *_, codes = sample(total=14, prompt=prompt)
    np.testing.assert_array_equal(codes[:, :length], prompt)
    continuation = prompt[:, -1:] + 1 + np.arange(14 - length)
    np.testing.assert_array_equal(codes[:, length:], continuation % VOCAB)


def test_all_codes_so_far_are_returned_after_each_window():
    steps = sample(total=14)
    assert [codes.shape for codes in steps] == [(2, 6), (2, 9), (2, 12), (2, 14)]
    for codes in steps:
        np.testing.assert_array_equal(codes, steps[-1][:, : codes.shape[1]])


def test_noise_depends_on_the_track_position_not_on_the_window():
    """A model that ignores its input gives the same track with any windows."""
    tracks = [sample(NOISE, total=17, hop=hop, temperature=1.0)[-1] for hop in (1, 3, 6)]
    assert len(np.unique(tracks[0])) > 3
    np.testing.assert_array_equal(tracks[0], tracks[1])
    np.testing.assert_array_equal(tracks[0], tracks[2])


def test_resumed_level_is_bit_for_bit_the_same():
    steps = sample(NOISE, total=14, temperature=1.0)
    for codes in steps[:-1]:
        *_, resumed = sample(NOISE, total=14, prompt=codes, temperature=1.0)
        np.testing.assert_array_equal(resumed, steps[-1])


def test_item_is_the_same_in_any_batch():
    *_, batch = sample(NOISE, total=14, temperature=1.0, items=range(2))
    *_, alone = sample(NOISE, total=14, temperature=1.0, items=range(1, 2))
    np.testing.assert_array_equal(batch[1], alone[0])
    assert (batch[0] != batch[1]).any()


def test_keys_differ_by_seed_item_and_level():
    keys = [
        tuple(np.asarray(jax.random.key_data(key)))
        for seed in (0, 1)
        for level in range(3)
        for key in make_item_keys(seed, range(4), level)
    ]
    assert len(set(keys)) == len(keys)


def upsample(monkeypatch, *, total=24, hop=4):
    """Returns the upper codes and the inputs of each window of an upsampler."""
    all_inputs = []

    def record_inputs(config, logits_filter, weights, inputs, chunk, fresh):
        all_inputs.append(jax.tree.map(np.asarray, inputs._replace(keys=None)))
        return np.zeros((2, config.seq_len), np.int32)

    monkeypatch.setattr(window_runners, "sample_windows", record_inputs)
    upper = np.arange(2 * total // 2, dtype=np.int32).reshape(2, total // 2)
    tracks = LevelTracks(
        total=total,
        codes=np.zeros((2, 0), np.int32),
        upper_codes=upper,
        labels=[Labels(1, (2,), 5000), Labels(2, (3, 1), 6000)],
        keys=make_item_keys(0, range(2), 1),
    )
    steps = sample_level(UPSAMPLER, COUNTING, tracks, SamplingSettings(hop, temperature=1.0))
    assert [progress.codes.shape[1] for progress in steps][-1] == total
    return upper, all_inputs


def test_levels_line_up_with_the_level_above(monkeypatch):
    upper, all_inputs = upsample(monkeypatch, total=24)
    starts = [int(inputs.offset[0]) for inputs in all_inputs]
    assert starts == [0, 4, 8, 12, 16]
    for start, inputs in zip(starts, all_inputs, strict=True):
        np.testing.assert_array_equal(inputs.upper_codes, upper[:, start // 2 : start // 2 + 4])


def test_a_window_past_the_end_is_padded_with_zeros(monkeypatch):
    upper, all_inputs = upsample(monkeypatch, total=6)
    np.testing.assert_array_equal(all_inputs[0].upper_codes, np.pad(upper, ((0, 0), (0, 1))))
    assert (int(all_inputs[0].start), int(all_inputs[0].stop)) == (0, 6)


def test_each_window_has_labels_at_its_own_offset(monkeypatch):
    """Total length, offset and window length in samples, artist, padded genres."""
    _, all_inputs = upsample(monkeypatch)
    for inputs in all_inputs:
        offset = int(inputs.offset[0]) * 32
        np.testing.assert_array_equal(
            inputs.labels, [[5000, offset, 256, 1, 2, -1], [6000, offset, 256, 2, 3, 1]]
        )


def test_windows_off_the_grid_of_the_level_above_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="starts at 3, which is no multiple of 2"):
        upsample(monkeypatch, hop=3)


def test_upsampler_samples_the_arg_max_of_its_teacher_forced_logits():
    """Each code is the arg max of the whole pass over all of them, plus that position's noise."""
    rng = np.random.default_rng(0)
    upper = rng.integers(VOCAB, size=(2, 4)).astype(np.int32)
    labels = np.array([[5000, 0, 256, 1, 2, -1], [6000, 64, 256, 2, 3, 1]], np.int32)
    codes = np.zeros((2, 8), np.int32)
    model = Prior(UPSAMPLER)
    shapes = jax.eval_shape(model.init, jax.random.key(0), codes, upper, labels)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape, scale=0.2).astype(np.float32),
        nn.meta.unbox(shapes)["params"],
    )
    inputs = WindowInputs(
        codes=jnp.asarray(codes),
        upper_codes=jnp.asarray(upper),
        labels=jnp.asarray(labels),
        start=jnp.int32(0),
        stop=jnp.int32(8),
        offset=jnp.int32(0),
        keys=make_item_keys(0, range(2), 1),
        temperature=jnp.float32(1.0),
    )
    weights = prepare_weights(UPSAMPLER, params, jnp.float32)
    variables = jax.tree.map(jnp.asarray, {"params": params})
    filled = sample_windows(UPSAMPLER, NO_FILTER, weights, inputs)

    @jax.jit
    def noisy_logits(codes):
        logits = model.apply(variables, codes, upper, labels)
        noise = gumbel_noise(inputs.keys, jnp.arange(8), VOCAB)
        return logits + noise.swapaxes(0, 1)

    np.testing.assert_array_equal(filled, jnp.argmax(noisy_logits(filled), axis=-1))
    assert len(np.unique(filled)) > 2


@pytest.mark.parametrize("kind", LYRICS)
def test_model_with_lyrics_samples_the_arg_max_of_its_teacher_forced_logits(kind):
    """Behind a prompt of 3 codes; sampled letters condition the steps after them."""
    config = LYRICS[kind]
    rng = np.random.default_rng(0)
    labels = np.array(
        [[5000, 0, 1024, 1, 2, -1, 1, 2, 3, 4], [6000, 64, 1024, 2, 3, 1, 4, 0, 2, 0]]
    )
    prompt = np.pad(rng.integers(VOCAB, size=(2, 3)), ((0, 0), (0, 5))).astype(np.int32)
    model = Prior(config)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape, scale=0.3).astype(np.float32),
        find_prior_shapes(config),
    )
    inputs = WindowInputs(
        codes=jnp.asarray(prompt),
        upper_codes=None,
        labels=jnp.asarray(labels, jnp.int32),
        start=jnp.int32(3),
        stop=jnp.int32(8),
        offset=jnp.int32(0),
        keys=make_item_keys(0, range(2), 2),
        temperature=jnp.float32(1.0),
    )
    filled = sample_windows(config, NO_FILTER, prepare_weights(config, params, jnp.float32), inputs)
    variables = jax.tree.map(jnp.asarray, {"params": params})

    @jax.jit
    def sample_forced(shifted):
        """Samples in a pass over the whole window; negative codes are letters."""
        logits = model.apply(variables, shifted, None, inputs.labels)
        noise = gumbel_noise(inputs.keys, jnp.arange(8), logits.shape[-1]).swapaxes(0, 1)
        sampled = jnp.argmax(logits + noise, axis=-1) - config.code_shift
        return jnp.where(jnp.arange(8) < 3, shifted, sampled)

    codes = jnp.asarray(prompt)
    for _ in range(6):  # each pass determines one more code
        codes = sample_forced(codes)
    np.testing.assert_array_equal(filled, jnp.maximum(codes, 0))
    assert len(np.unique(filled)) > 2


def test_windows_have_the_letters_around_their_position_in_the_song():
    """12 letters over 4096 samples, windows of 1024 samples at codes 0, 8 and 16 of hop 128."""
    config, song = LYRICS["separate"], tuple(range(1, 13))
    item = Labels(1, (2,), total_samples=4096, lyrics=song)
    rows = [make_window_labels(config, [item], start)[0] for start in (0, 8, 16)]
    assert [row[:6].tolist() for row in rows] == [
        [4096, offset, 1024, 1, 2, -1] for offset in (0, 1024, 2048)
    ]
    assert [row[6:].tolist() for row in rows] == [[1, 2, 3, 4], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_labels_of_an_item_start_at_its_offset_in_the_piece():
    config = LYRICS["single"]
    item = Labels(1, (2,), total_samples=4096, offset=1024, lyrics=(4, 3))
    row = make_window_labels(config, [item], 8)[0]
    np.testing.assert_array_equal(row, [4096, 2048, 1024, 1, 2, -1, 0, 0, 4, 3])
