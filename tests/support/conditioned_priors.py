"""Priors of eight codes with labels and letters, for tests of the models."""

import dataclasses

from jukejax.models.conditioners import LyricsConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig

STACK = TransformerConfig(emb_dim=8, num_layers=3, num_heads=1, seq_len=8, num_blocks=2)
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
