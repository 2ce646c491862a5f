"""Configs of priors in Hugging Face Transformers 4.49, converted from and to ours.

Models that the port cannot express are refused, not approximated.
"""

from collections.abc import Mapping
from typing import Any

from jukejax.models.conditioners import CodeConditionerConfig, LyricsConfig, LyricsKind
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.weights.huggingface.vqvae_config import LEVELS, to_integer

PATTERNS = {
    0: "full_dense_attention",
    2: "raw_column_previous_row_attention",
    10: "large_separated_enc_dec_w_lyrics",
    12: "enc_dec_with_lyrics",
}
ORDERS = {name: order for order, name in PATTERNS.items()}

# Transformers' defaults, for fields that a config.json omits.
PRIOR_DEFAULTS: dict[str, Any] = {
    "alignment_head": 2,
    "alignment_layer": 68,
    "attention_multiplier": 0.25,
    "attention_pattern": "enc_dec_with_lyrics",
    "attn_dropout": 0,
    "attn_res_scale": False,
    "blocks": 64,
    "conv_res_scale": None,
    "num_layers": 72,
    "emb_dropout": 0,
    "music_vocab_size": 2048,
    "encoder_config": None,
    "encoder_loss_fraction": 0.4,
    "hidden_size": 2048,
    "init_scale": 0.2,
    "is_encoder_decoder": True,
    "lyric_vocab_size": 80,
    "max_duration": 600,
    "max_nb_genres": 1,
    "merged_decoder": True,
    "metadata_conditioning": True,
    "metadata_dims": [604, 7898],
    "min_duration": 0,
    "mlp_multiplier": 1.0,
    "n_ctx": 6144,
    "n_heads": 2,
    "nb_relevant_lyric_tokens": 384,
    "res_conv_depth": 3,
    "res_conv_width": 128,
    "res_convolution_multiplier": 1,
    "res_dilation_cycle": None,
    "res_dilation_growth_rate": 1,
    "res_downs_t": [3, 2, 2],
    "res_strides_t": [2, 2, 2],
    "resid_dropout": 0,
    "sampling_rate": 44100,
    "timing_dims": 64,
    "zero_out": False,
}


def export_prior(config: PriorConfig, vqvae: VQVAEConfig) -> dict[str, Any]:
    """Converts our config of a prior to Transformers'; downs and strides are those of the VQ-VAE.

    Raises:
      ValueError: Transformers has no such prior.
    """
    ratios = {s**d for d, s in zip(vqvae.downs[1:], vqvae.strides[1:], strict=True)}
    if config.upper is not None and len(ratios) > 1:
        raise ValueError(
            "Transformers' Jukebox mixes up the upsamplers of unequal levels (here downs "
            f"{vqvae.downs}, strides {vqvae.strides}); take --format=openai or safetensors"
        )
    if config.lookback:
        raise ValueError(
            "Transformers' Jukebox has no lookback (config.model.lookback); take --format=bundle "
            "or safetensors"
        )
    fields = _export_transformer(config.transformer) | {
        "level": LEVELS - 1 - config.level,
        "n_ctx": config.seq_len,
        "music_vocab_size": config.codebook_size,
        "merged_decoder": config.merged_decoder,
        "is_encoder_decoder": False,
        "nb_relevant_lyric_tokens": 0,
        "metadata_conditioning": config.labels is not None,
        "res_downs_t": list(vqvae.downs),
        "res_strides_t": list(vqvae.strides),
    }
    if config.labels is not None:
        fields["metadata_dims"] = [config.labels.num_genres, config.labels.num_artists]
        fields |= export_label_limits(config.labels)
    if config.upper is not None:
        fields |= _export_code_conditioner(config.upper)
    if config.lyrics is not None:
        fields |= _export_lyrics(config.lyrics)
    return fields


def export_label_limits(labels: LabelConfig) -> dict[str, Any]:
    """Converts the fields of labels, of a prior and of the model in Transformers.

    Raises:
      ValueError: the model has labels that Jukebox does not have.
    """
    if labels.has_grid:
        raise ValueError(
            "the model has tempo, key or position in the bar as labels, which Jukebox in "
            "Transformers does not have; export it with --format=bundle"
        )
    return {
        "max_nb_genres": labels.max_genres,
        "timing_dims": labels.timing_bins,
        "min_duration": labels.min_duration,
        "max_duration": labels.max_duration,
        "sampling_rate": labels.sample_rate,
    }


def _export_code_conditioner(upper: CodeConditionerConfig) -> dict[str, Any]:
    return {
        "res_conv_width": upper.width,
        "res_conv_depth": upper.depth,
        "res_convolution_multiplier": to_integer(upper.m_conv, "upper.m_conv"),
        "res_dilation_growth_rate": upper.dilation_growth_rate,
        "res_dilation_cycle": upper.dilation_cycle,
        "conv_res_scale": upper.res_scale,
    }


def _export_lyrics(lyrics: LyricsConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "nb_relevant_lyric_tokens": lyrics.num_tokens,
        "lyric_vocab_size": lyrics.vocab_size,
        "encoder_loss_fraction": lyrics.loss_fraction,
        "is_encoder_decoder": lyrics.kind == LyricsKind.SINGLE,
    }
    if lyrics.alignment_layer is not None:
        fields["alignment_layer"] = lyrics.alignment_layer
        fields["alignment_head"] = lyrics.alignment_head
    if lyrics.encoder is not None:
        fields["encoder_config"] = _export_transformer(lyrics.encoder) | {
            "n_ctx": lyrics.num_tokens,
            "is_encoder_decoder": False,
            "nb_relevant_lyric_tokens": 0,
            "merged_decoder": False,
        }
    return fields


def _export_transformer(stack: TransformerConfig) -> dict[str, Any]:
    """Converts our config of a transformer to the fields of a prior's config in Transformers."""
    if stack.attn_order not in PATTERNS:
        raise ValueError(
            f"Transformers' Jukebox has no attention pattern {stack.attn_order}, only "
            f"{', '.join(map(str, PATTERNS))}; take --format=openai or safetensors"
        )
    return {
        "model_type": "jukebox_prior",
        "act_fn": "quick_gelu",
        "mask": stack.causal,
        "hidden_size": stack.emb_dim,
        "num_layers": stack.num_layers,
        "n_heads": stack.num_heads,
        "blocks": stack.num_blocks,
        "attention_pattern": PATTERNS[stack.attn_order],
        "attention_multiplier": stack.attn_ratio,
        "mlp_multiplier": stack.mlp_ratio,
        "init_scale": stack.init_scale,
        "attn_res_scale": stack.res_scale,
        "zero_out": stack.zero_out,
        "attn_dropout": stack.attn_dropout,
        "resid_dropout": stack.resid_dropout,
        "emb_dropout": stack.emb_dropout,
    }


def import_prior(foreign: Mapping[str, Any], number: int, vqvae: VQVAEConfig) -> PriorConfig:
    """Converts Transformers' config of `priors[number]` to ours; inverts `export_prior`."""
    fields = PRIOR_DEFAULTS | dict(foreign)
    level = LEVELS - 1 - number
    return PriorConfig(
        level=level,
        codebook_size=fields["music_vocab_size"],
        hop_length=vqvae.hops[level],
        transformer=_import_transformer(fields, seq_len=fields["n_ctx"]),
        upper=_import_code_conditioner(fields, number) if number else None,
        labels=_import_labels(fields) if fields["metadata_conditioning"] else None,
        lyrics=_import_lyrics(fields) if fields["nb_relevant_lyric_tokens"] else None,
        merged_decoder=fields["merged_decoder"],
    )


def _import_labels(fields: Mapping[str, Any]) -> LabelConfig:
    num_genres, num_artists = fields["metadata_dims"]
    return LabelConfig(
        num_artists=num_artists,
        num_genres=num_genres,
        max_genres=fields["max_nb_genres"],
        timing_bins=fields["timing_dims"],
        min_duration=float(fields["min_duration"]),
        max_duration=float(fields["max_duration"]),
        sample_rate=fields["sampling_rate"],
    )


def _import_code_conditioner(fields: Mapping[str, Any], number: int) -> CodeConditionerConfig:
    return CodeConditionerConfig(
        vocab_size=fields["music_vocab_size"],
        downs=fields["res_downs_t"][number],
        stride=fields["res_strides_t"][number],
        width=fields["res_conv_width"],
        depth=fields["res_conv_depth"],
        dilation_growth_rate=fields["res_dilation_growth_rate"],
        dilation_cycle=fields["res_dilation_cycle"],
        res_scale=bool(fields["conv_res_scale"]),
        m_conv=float(fields["res_convolution_multiplier"]),
        zero_out=fields["zero_out"],
        init_scale=fields["init_scale"],
    )


def _import_lyrics(fields: Mapping[str, Any]) -> LyricsConfig:
    num_tokens, encoder = fields["nb_relevant_lyric_tokens"], None
    if not fields["is_encoder_decoder"]:
        encoder = _import_transformer(
            PRIOR_DEFAULTS | (fields["encoder_config"] or {}), seq_len=num_tokens
        )
    # Transformers' default layer does not exist in smaller models.
    is_known = fields["alignment_layer"] < fields["num_layers"]
    return LyricsConfig(
        kind=LyricsKind.SEPARATE if encoder else LyricsKind.SINGLE,
        num_tokens=num_tokens,
        vocab_size=fields["lyric_vocab_size"],
        loss_fraction=fields["encoder_loss_fraction"],
        encoder=encoder,
        alignment_layer=fields["alignment_layer"] if is_known else None,
        alignment_head=fields["alignment_head"] if is_known else None,
    )


def _import_transformer(foreign: Mapping[str, Any], *, seq_len: int) -> TransformerConfig:
    """Inverts `_export_transformer`."""
    pattern = foreign["attention_pattern"]
    if pattern not in ORDERS:
        raise ValueError(f"attention_pattern {pattern!r} is unknown; known: {', '.join(ORDERS)}")
    return TransformerConfig(
        emb_dim=foreign["hidden_size"],
        num_layers=foreign["num_layers"],
        num_heads=foreign["n_heads"],
        num_blocks=foreign["blocks"],
        attn_order=ORDERS[pattern],
        attn_ratio=foreign["attention_multiplier"],
        mlp_ratio=foreign["mlp_multiplier"],
        init_scale=foreign["init_scale"],
        res_scale=bool(foreign["attn_res_scale"]),
        zero_out=foreign["zero_out"],
        attn_dropout=float(foreign["attn_dropout"]),
        resid_dropout=float(foreign["resid_dropout"]),
        emb_dropout=float(foreign["emb_dropout"]),
        seq_len=seq_len,
    )
