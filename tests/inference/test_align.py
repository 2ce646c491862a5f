"""Attention to lyrics, arranged by letter, window by window."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference.align import align_lyrics, compute_lyric_attention
from jukejax.inference.conditioning import Labels, PriorInputs, make_window_labels, prepare_weights
from jukejax.models.conditioners import LyricsConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.weights.part_configs import find_prior_shapes

SEPARATE = PriorConfig(
    level=2,
    codebook_size=5,
    hop_length=128,
    transformer=TransformerConfig(8, 4, 2, 8, 2, attn_order=6, attn_ratio=0.5),
    labels=LabelConfig(num_artists=3, num_genres=4),
    lyrics=LyricsConfig("separate", 4, 5, encoder=TransformerConfig(6, 1, 1, 4, 2)),
)
SINGLE = dataclasses.replace(
    SEPARATE,
    transformer=TransformerConfig(8, 2, 2, 8, 2, attn_order=0, attn_ratio=0.5),
    lyrics=LyricsConfig("single", 4, 5),
)
SONG = Labels(1, (2,), total_samples=2048, lyrics=(1, 2, 3, 4, 1, 2))


def make_weights(config):
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape, scale=0.4).astype(np.float32),
        find_prior_shapes(config),
    )
    return prepare_weights(config, params, jnp.float32)


WEIGHTS = make_weights(SEPARATE)


def compute_attention(config, weights, codes, start, layer):
    rows = jnp.asarray(make_window_labels(config, [SONG], start))
    inputs = PriorInputs(jnp.asarray(codes), labels=rows)
    return np.asarray(compute_lyric_attention(config, weights, inputs, layer))


def test_layer_of_kind_6_attends_to_lyrics_only():
    codes = np.arange(8, dtype=np.int32)[None] % 5
    probs = compute_attention(SEPARATE, WEIGHTS, codes, 0, 3)
    assert probs.shape == (1, 2, 8, 4)
    np.testing.assert_allclose(probs.sum(axis=-1), 1.0, rtol=1e-5)
    assert np.ptp(probs) > 1e-3


def test_dense_layer_attends_to_lyrics_and_codes():
    codes = np.arange(8, dtype=np.int32)[None] % 5
    probs = compute_attention(SINGLE, make_weights(SINGLE), codes, 0, 1)
    assert probs.shape == (1, 2, 8, 4)
    total = probs.sum(axis=-1)
    assert (total > 0).all()
    assert (total < 1).all()


def test_layers_without_attention_to_lyrics_are_refused():
    codes = np.zeros((1, 8), np.int32)
    for layer in (0, 4, -1):
        with pytest.raises(ValueError, match=rf"layer {layer} does not attend .* \[3\]"):
            compute_attention(SEPARATE, WEIGHTS, codes, 0, layer)


def test_windows_are_arranged_by_letter_and_the_earlier_one_counts():
    """16 codes, windows at 0, 4 and 8, of four letters each out of six."""
    codes = (np.arange(16, dtype=np.int32)[None] * 3) % 5
    (attention,) = align_lyrics(SEPARATE, WEIGHTS, codes, [SONG], window_hop=4, layer=3, head=1)
    expected = np.zeros((16, 6))
    for start, first in ((8, 2), (4, 1), (0, 0)):
        window = compute_attention(SEPARATE, WEIGHTS, codes[:, start : start + 8], start, 3)[0, 1]
        expected[start : start + 8, first : first + 4] = window
    np.testing.assert_allclose(attention, expected, atol=1e-6)


def test_padding_of_a_short_track_and_of_short_lyrics_is_removed():
    codes = np.ones((1, 5), np.int32)
    short = SONG._replace(lyrics=(3, 4))
    (attention,) = align_lyrics(SEPARATE, WEIGHTS, codes, [short], window_hop=4, layer=3, head=0)
    assert attention.shape == (5, 2)
    assert (attention > 0).all()
    assert (attention.sum(axis=1) < 1).all()
