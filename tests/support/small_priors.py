"""Priors of a few codes and one dense layer, for tests of sampling; tests/models has the rest."""

import dataclasses

from jukejax.models.conditioners import CodeConditionerConfig, LyricsConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig

VOCAB, SEQ_LEN = 8, 6
TOP = PriorConfig(
    level=2,
    codebook_size=VOCAB,
    hop_length=128,
    transformer=TransformerConfig(
        emb_dim=VOCAB,
        num_layers=1,
        num_heads=1,
        seq_len=SEQ_LEN,
        num_blocks=2,
        attn_order=0,
        attn_ratio=1.0,
    ),
    merged_decoder=True,
)
UPSAMPLER = PriorConfig(
    level=1,
    codebook_size=VOCAB,
    hop_length=32,
    transformer=TransformerConfig(
        emb_dim=VOCAB, num_layers=1, num_heads=1, seq_len=8, num_blocks=2, attn_order=0
    ),
    upper=CodeConditionerConfig(vocab_size=VOCAB, downs=1, stride=2, width=4, depth=1),
    labels=LabelConfig(num_artists=3, num_genres=4, max_genres=2),
)


LYRICS = {
    "single": dataclasses.replace(
        TOP,
        transformer=TransformerConfig(VOCAB, 1, 1, 8, 2, attn_order=0),
        labels=UPSAMPLER.labels,
        lyrics=LyricsConfig("single", num_tokens=4, vocab_size=5),
        merged_decoder=False,
    ),
    "separate": dataclasses.replace(
        TOP,
        transformer=TransformerConfig(VOCAB, 4, 1, 8, 2, attn_order=6),
        labels=UPSAMPLER.labels,
        lyrics=LyricsConfig("separate", 4, 5, encoder=TransformerConfig(6, 1, 1, 4, 2)),
    ),
}
