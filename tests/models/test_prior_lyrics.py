"""Priors with lyrics: what letters reach, vocabularies, configs that are refused."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.conditioners import LyricsConfig
from jukejax.models.prior import Prior, extract_codes
from jukejax.models.transformer_config import TransformerConfig
from jukejax.weights.part_configs import find_prior_shapes as shapes_of
from tests.support.conditioned_priors import LABELS, SEPARATE, SINGLE, STACK, TOP


@functools.cache
def predict(config):
    """Returns (codes, letters) -> predictions of a model with weights drawn by NumPy."""
    rng = np.random.default_rng(1)
    params = jax.device_put(
        jax.tree.map(
            lambda leaf: rng.normal(size=leaf.shape, scale=0.3).astype(np.float32),
            shapes_of(config),
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
