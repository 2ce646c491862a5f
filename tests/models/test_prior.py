"""Whole priors: their size, what they are told, their loss."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.conditioners import CodeConditionerConfig, LyricsConfig
from jukejax.models.labels import LabelConfig
from jukejax.models.prior import (
    Predictions,
    Prior,
    PriorConfig,
    compute_bits_per_code,
    compute_losses,
    draw_hidden_codes,
    extract_codes,
)
from jukejax.models.transformer_config import TransformerConfig
from jukejax.weights.part_configs import find_prior_shapes

STACK = TransformerConfig(emb_dim=8, num_layers=3, num_heads=1, seq_len=8, num_blocks=2)
UPPER = CodeConditionerConfig(vocab_size=5, downs=1, stride=2, width=4, depth=1)
LABELS = LabelConfig(num_artists=3, num_genres=4)
TOP = PriorConfig(2, 5, 128, STACK)


# Three letters in front of the codes, with dense layers; and in an encoder, with a layer of kind 6.
SINGLE = dataclasses.replace(
    TOP,
    transformer=TransformerConfig(8, 2, 1, 8, 1, attn_order=0),
    labels=LABELS,
    lyrics=LyricsConfig("single", num_tokens=3, vocab_size=4),
)
SEPARATE = dataclasses.replace(
    TOP,
    transformer=TransformerConfig(8, 4, 1, 8, 2, attn_order=6),
    labels=LABELS,
    lyrics=LyricsConfig("separate", 3, 4, encoder=TransformerConfig(6, 1, 1, 3, 1, attn_order=0)),
)


def stack(width, depth, heads, blocks, attn_order=2, seq_len=8192):
    return TransformerConfig(width, depth, heads, seq_len, blocks, attn_order)


RELEASED_UPPER = CodeConditionerConfig(vocab_size=2048, downs=2, stride=2, m_conv=1.0)
V2 = LabelConfig(num_artists=4111, num_genres=120, max_genres=5, timing_bins=128)
# Parameters as in design.md.
RELEASED = {
    "small_prior": (PriorConfig(2, 2048, 128, stack(1024, 48, 1, 64)), 161_862_656),
    "upsampler": (
        PriorConfig(0, 2048, 8, stack(1920, 72, 1, 128), upper=RELEASED_UPPER, labels=V2),
        981_298_176,
    ),
    "prior_5b": (
        PriorConfig(2, 2048, 128, stack(4800, 72, 8, 128), labels=V2, merged_decoder=True),
        5_060_452_800,
    ),
    "prior_1b_lyrics": (
        PriorConfig(
            2,
            2048,
            128,
            stack(2048, 72, 2, 64, 12, 6144),
            labels=LabelConfig(num_artists=7898, num_genres=604, timing_bins=64),
            lyrics=LyricsConfig("single", 384, 79),
        ),
        942_643_200,
    ),
    "prior_5b_lyrics": (
        PriorConfig(
            2,
            2048,
            128,
            stack(4800, 79, 8, 128, 10),
            labels=V2,
            lyrics=LyricsConfig("separate", 512, 80, encoder=stack(1280, 18, 4, 32, 2, 512)),
            merged_decoder=True,
        ),
        5_640_506_800,
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("small_prior", marks=pytest.mark.slow),
        "upsampler",
        pytest.param("prior_5b", marks=pytest.mark.slow),
        "prior_1b_lyrics",
        "prior_5b_lyrics",
    ],
)
def test_released_models_have_as_many_parameters_as_openai_says(name):
    config, count = RELEASED[name]
    assert sum(leaf.size for leaf in jax.tree.leaves(find_prior_shapes(config))) == count


def test_timing_is_told_at_the_top_level_only():
    top = find_prior_shapes(dataclasses.replace(TOP, labels=LABELS))["label_conditioner"]
    below = find_prior_shapes(dataclasses.replace(TOP, upper=UPPER, labels=LABELS))[
        "label_conditioner"
    ]
    assert set(top) == {"artist", "genre", "total", "absolute", "relative"}
    assert set(below) == {"artist", "genre"}


def test_upper_codes_and_labels_reach_the_logits():
    config = dataclasses.replace(TOP, upper=UPPER, labels=LABELS)
    rng = np.random.default_rng(0)
    params = jax.device_put(
        jax.tree.map(
            lambda leaf: rng.normal(size=leaf.shape, scale=0.3).astype(np.float32),
            find_prior_shapes(config),
        )
    )
    codes, upper = np.zeros((1, 8), np.int32), np.zeros((1, 4), np.int32)
    labels = np.array([[5000, 0, 1024, 1, 2]], np.int32)
    apply = jax.jit(lambda *inputs: Prior(config).apply({"params": params}, *inputs))
    plain = apply(codes, upper, labels)
    assert plain.shape == (1, 8, 5)
    assert np.abs(plain - apply(codes, upper + 1, labels)).max(axis=-1).min() > 1e-4
    for column in (3, 4):  # artist and genre take the start slot; every position can see it
        other = labels.copy()
        other[0, column] -= 1
        assert np.abs(plain - apply(codes, upper, other)).max() > 1e-4


def test_bits_per_code_of_certainty_chance_and_error():
    compute_bits, codes = jax.jit(compute_bits_per_code), np.array([[0, 3, 2]])
    sure = np.float32(100.0 * np.eye(8)[codes])
    np.testing.assert_allclose(compute_bits(sure, codes), 0.0, atol=1e-6)
    np.testing.assert_allclose(compute_bits(0 * sure, codes), 3.0, rtol=1e-6)
    half = np.float32(np.log([[[0.5, 0.25, 0.125, 0.125]]]))
    np.testing.assert_allclose(compute_bits(half, np.array([[1]])), 2.0, rtol=1e-6)


def test_a_window_that_does_not_hold_whole_upper_codes_is_refused():
    odd = dataclasses.replace(UPPER, downs=2)
    with pytest.raises(ValueError, match="seq_len 6 is no multiple of 4, the codes of level 1"):
        PriorConfig(1, 5, 32, dataclasses.replace(STACK, seq_len=6), upper=odd)


def test_a_window_knows_its_length_in_samples():
    assert TOP.sample_length == 8 * 128


@functools.cache
def predict(config):
    """Returns (codes, letters) -> predictions of a model with weights drawn by NumPy."""
    rng = np.random.default_rng(1)
    params = jax.device_put(
        jax.tree.map(
            lambda leaf: rng.normal(size=leaf.shape, scale=0.3).astype(np.float32),
            find_prior_shapes(config),
        )
    )

    @jax.jit
    def run(codes, letters):
        labels = jnp.concatenate([jnp.array([[900_000, 0, 1024, 1, 2]]), letters], axis=1)
        return Prior(config).apply(
            {"params": params}, codes, None, labels, method="compute_predictions"
        )

    return lambda codes, letters: jax.device_get(
        run(np.array([codes], np.int32), np.array([letters], np.int32))
    )


def moved(ours, theirs):
    """Returns the positions whose logits differ."""
    return np.flatnonzero(np.abs(ours - theirs).max(axis=(0, 2)) > 1e-5).tolist()


@pytest.mark.parametrize("config", [SINGLE, SEPARATE], ids=["single", "separate"])
def test_a_code_reaches_later_codes_and_no_letter(config):
    run = predict(config)
    plain, other = run([0] * 8, [1, 2, 3]), run([0, 0, 0, 0, 4, 0, 0, 0], [1, 2, 3])
    assert moved(plain.lyrics, other.lyrics) == []
    assert moved(plain.codes, other.codes) == [5, 6, 7]


@pytest.mark.parametrize("config", [SINGLE, SEPARATE], ids=["single", "separate"])
def test_a_letter_reaches_later_letters_and_all_codes(config):
    run = predict(config)
    plain, other = run([0] * 8, [1, 2, 3]), run([0] * 8, [1, 0, 3])
    assert moved(plain.lyrics, other.lyrics) == [2]
    assert moved(plain.codes, other.codes) == list(range(8))


def test_without_a_mask_a_letter_reaches_earlier_letters():
    encoder = dataclasses.replace(SEPARATE.lyrics.encoder, causal=False)
    lyrics = dataclasses.replace(SEPARATE.lyrics, encoder=encoder)
    run = predict(dataclasses.replace(SEPARATE, lyrics=lyrics))
    assert moved(run([0] * 8, [1, 2, 3]).lyrics, run([0] * 8, [1, 0, 3]).lyrics) == [0, 1, 2]


def test_lyrics_and_codes_together_fill_the_rows():
    """18 letters and 54 codes are 8 rows of 9, although 54 codes alone are not."""
    config = dataclasses.replace(
        TOP,
        transformer=TransformerConfig(8, 3, 1, 54, 8, attn_order=2),
        labels=LABELS,
        lyrics=LyricsConfig("single", num_tokens=18, vocab_size=4),
    )
    assert config.autoregressive.transformer.grid[:2] == (8, 9)
    assert predict(config)([0] * 54, [1] * 18).codes.shape == (1, 54, 4 + 5)
    with pytest.raises(ValueError, match=r"seq_len 53 .*lyrics\) does not divide into 8 rows"):
        dataclasses.replace(config, transformer=TransformerConfig(8, 3, 1, 35, 8, attn_order=2))


def test_the_last_letter_reaches_the_codes_of_a_single_model_only():
    """As in OpenAI's code, the encoder reads its letters shifted by one."""
    single, separate = (predict(config) for config in (SINGLE, SEPARATE))
    assert moved(single([0] * 8, [1, 2, 3]).codes, single([0] * 8, [1, 2, 0]).codes) != []
    assert moved(separate([0] * 8, [1, 2, 3]).codes, separate([0] * 8, [1, 2, 0]).codes) == []


def test_the_vocabulary_of_a_single_model_is_letters_then_codes():
    predictions = predict(SINGLE)([0] * 8, [1, 2, 3])
    assert predictions.codes.shape == (1, 8, 4 + 5)
    assert predictions.lyrics.shape == (1, 3, 4 + 5)
    separate = predict(SEPARATE)([0] * 8, [1, 2, 3])
    assert separate.codes.shape == (1, 8, 5)
    assert separate.lyrics.shape == (1, 3, 4)


def test_a_letter_drawn_in_place_of_a_code_becomes_code_0():
    drawn = jnp.array([[1, 2, 3, 4, 8, 3, 0, 5, 6, 7, 4]])
    np.testing.assert_array_equal(extract_codes(SINGLE, drawn), [[0, 4, 0, 0, 1, 2, 3, 0]])


def test_the_loss_weighs_letters_by_their_number_and_their_fraction():
    """3 bits a code of 8, 1 bit a letter of 3, fraction 0.4."""
    half = np.float32(np.log([1e-30, 0.5, 0.5, 1e-30]))
    lyrics = np.broadcast_to(half, (1, 3, 4))
    predictions = Predictions(codes=np.zeros((1, 8, 8), np.float32), lyrics=lyrics)
    labels = np.array([[5000, 0, 1024, 1, 2, 1, 2, 1]])
    compute = jax.jit(compute_losses, static_argnums=0)
    loss, parts = compute(SEPARATE, predictions, np.zeros((1, 8), np.int32), labels)
    np.testing.assert_allclose(parts["bits_per_code"], 3.0, rtol=1e-6)
    np.testing.assert_allclose(parts["bits_per_letter"], 1.0, rtol=1e-6)
    np.testing.assert_allclose(loss, (8 * 3.0 + 0.4 * 3 * 1.0) / 11, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(labels=None), "lyrics need labels"),
        (
            dict(transformer=dataclasses.replace(STACK, causal=False)),
            "transformer.causal is False: a prior would predict codes from themselves",
        ),
        (
            dict(lyrics=None, transformer=dataclasses.replace(STACK, seq_len=13)),
            "seq_len 13 does not divide into 2 rows",
        ),
        (
            dict(lyrics=None, transformer=dataclasses.replace(STACK, attn_order=4)),
            "spread 8 exceeds a row of 4",
        ),
        (dict(merged_decoder=True), "merged_decoder cannot be combined with"),
        (dict(lyrics=None, transformer=SEPARATE.transformer), "attn_order 6 needs a lyric encoder"),
        (
            dict(lyrics=None, transformer=dataclasses.replace(STACK, num_layers=16, attn_order=12)),
            "attn_order 12 needs lyrics inside the 8 positions",
        ),
        (
            dict(transformer=dataclasses.replace(SINGLE.transformer, lyric_len=3)),
            "follow from lyrics.num_tokens",
        ),
    ],
)
def test_contradictions_about_lyrics_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SINGLE, **change)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(kind="both"), "lyrics.kind is 'both'; known: single, separate"),
        (dict(kind="separate"), "'separate' needs lyrics.encoder"),
        (dict(kind="single", encoder=SEPARATE.lyrics.encoder), "must not have lyrics.encoder"),
        (dict(kind="separate", num_tokens=4, encoder=SEPARATE.lyrics.encoder), "seq_len is 3"),
        (dict(kind="single", num_tokens=0), "num_tokens is 0"),
    ],
)
def test_lyrics_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LyricsConfig(**{"num_tokens": 3, "vocab_size": 4, **fields})


def test_labels_without_their_letters_are_refused():
    with pytest.raises(ValueError, match="label vectors have 7 entries, expected 8"):
        predict(SINGLE)([0] * 8, [1, 2])


def hide_codes(config, labels, windows=4000):
    """Returns the hidden codes of many windows."""
    return np.asarray(draw_hidden_codes(config, labels, windows, jax.random.key(0)))


def test_hidden_codes_are_those_before_a_random_position():
    config = dataclasses.replace(TOP, context_dropout=0.4)
    hidden = hide_codes(config, None)
    assert not np.any(~hidden[:, :-1] & hidden[:, 1:])  # none after one that is not hidden
    # Of the hidden windows a ninth has no hidden code: ends are 0 to 8.
    assert hidden.any(axis=1).mean() == pytest.approx(0.4 * 8 / 9, abs=0.03)
    assert hidden.mean() == pytest.approx(0.4 * 0.5, abs=0.02)


def test_codes_of_a_turn_are_hidden_together():
    labels = dataclasses.replace(LABELS, turns=2)
    config = dataclasses.replace(TOP, labels=labels, context_dropout=0.5)
    vectors = jnp.zeros((4000, config.label_width), jnp.int32)
    hidden = hide_codes(config, vectors)
    even, odd = hidden[:, ::2], hidden[:, 1::2]
    for turn in (even, odd):
        assert not np.any(~turn[:, :-1] & turn[:, 1:])
    only_one = even.any(axis=1) != odd.any(axis=1)
    assert 0.1 < only_one.mean() < 0.3


def test_hidden_codes_do_not_affect_any_prediction():
    config = dataclasses.replace(TOP, lookback=(2, 3))
    model, codes = Prior(config), jnp.asarray([[0, 1, 2, 3, 4, 3, 2, 1]])
    variables = model.init(jax.random.key(0), codes)
    hidden = jnp.arange(8)[None] < 4

    def predict(codes, hidden):
        return model.apply(variables, codes, hidden=hidden, method=model.compute_predictions).codes

    other = codes.at[:, :4].set(0)
    np.testing.assert_array_equal(predict(codes, hidden), predict(other, hidden))
    assert np.any(predict(codes, None) != predict(other, None))
    np.testing.assert_array_equal(predict(codes, jnp.zeros((1, 8), bool)), predict(codes, None))
