"""Configs of the Jukebox port in Hugging Face Transformers 4.49, from and to ours.

Their `priors[0]` is the top level. What the port cannot express is refused, not approximated.
"""

from jukejax.models.block import TransformerConfig
from jukejax.models.conditioners import CodeConditionerConfig, LabelConfig, LyricsConfig, LyricsKind
from jukejax.models.prior import PriorConfig
from jukejax.models.vqvae import VQVAEConfig

LEVELS = 3  # the port's priors count their levels from there, whatever the config says

PATTERNS = {
    0: "full_dense_attention",
    2: "raw_column_previous_row_attention",
    10: "large_separated_enc_dec_w_lyrics",
    12: "enc_dec_with_lyrics",
}
ORDERS = {name: order for order, name in PATTERNS.items()}

# Their defaults, for what a config.json leaves out.
VQVAE_DEFAULTS = {
    "conv_input_shape": 1,
    "embed_dim": 64,
    "nb_discrete_codes": 2048,
    "res_conv_width": 32,
    "res_conv_depth": 4,
    "res_convolution_multiplier": 1,
    "res_dilation_growth_rate": 3,
    "res_dilation_cycle": None,
    "multipliers": [2, 1, 1],
    "res_downs_t": [3, 2, 2],
    "res_strides_t": [2, 2, 2],
    "lmu": 0.99,
    "conv_res_scale": False,
    "zero_out": False,
}
PRIOR_DEFAULTS = {
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


def _whole(value: float, what: str) -> int:
    if value != int(value):
        raise ValueError(f"Transformers' Jukebox cannot hold {what} {value}, only whole numbers")
    return int(value)


def vqvae_to(config: VQVAEConfig) -> dict:
    """Our VQ-VAE's config as theirs."""
    if config.levels != LEVELS or not config.bottleneck or not config.reverse_decoder_dilation:
        raise ValueError(
            f"Transformers' Jukebox holds only VQ-VAEs with {LEVELS} levels, a bottleneck and "
            "reversed decoder dilations; take --format=openai or safetensors"
        )
    return {
        "model_type": "jukebox_vqvae",
        "conv_input_shape": config.channels,
        "levels": config.levels,
        "embed_dim": config.emb_dim,
        "nb_discrete_codes": config.codebook_size,
        "res_conv_width": config.width,
        "res_conv_depth": config.depth,
        "res_convolution_multiplier": _whole(config.m_conv, "m_conv"),
        "res_dilation_growth_rate": config.dilation_growth_rate,
        "res_dilation_cycle": config.dilation_cycle,
        "multipliers": list(config.multipliers),
        "res_downs_t": list(config.downs),
        "res_strides_t": list(config.strides),
        "lmu": config.ema_decay,
        "conv_res_scale": config.res_scale,
        "zero_out": config.zero_out,
    }


def vqvae_from(theirs: dict) -> VQVAEConfig:
    """The inverse of `vqvae_to`."""
    known = VQVAE_DEFAULTS | theirs
    return VQVAEConfig(
        downs=tuple(known["res_downs_t"]),
        strides=tuple(known["res_strides_t"]),
        emb_dim=known["embed_dim"],
        codebook_size=known["nb_discrete_codes"],
        width=known["res_conv_width"],
        depth=known["res_conv_depth"],
        multipliers=tuple(known["multipliers"]),
        m_conv=float(known["res_convolution_multiplier"]),
        dilation_growth_rate=known["res_dilation_growth_rate"],
        dilation_cycle=known["res_dilation_cycle"],
        res_scale=bool(known["conv_res_scale"]),
        zero_out=known["zero_out"],
        ema_decay=known["lmu"],
        channels=known["conv_input_shape"],
    )


def _stack_to(stack: TransformerConfig) -> dict:
    """The part of a prior's config that says what its transformer is."""
    if stack.attn_order not in PATTERNS:
        raise ValueError(
            f"Transformers' Jukebox has no attention pattern {stack.attn_order}, only "
            f"{', '.join(map(str, PATTERNS))}; take --format=openai or safetensors"
        )
    return {
        "model_type": "jukebox_prior",
        "act_fn": "quick_gelu",
        "mask": True,
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


def prior_to(config: PriorConfig, vqvae: VQVAEConfig) -> dict:
    """Our prior's config as theirs; lists of downs and strides are those of the VQ-VAE."""
    ratios = {s**d for d, s in zip(vqvae.downs[1:], vqvae.strides[1:], strict=True)}
    if config.upper is not None and len(ratios) > 1:
        raise ValueError(
            "Transformers' Jukebox mixes up the upsamplers of unequal levels (here downs "
            f"{vqvae.downs}, strides {vqvae.strides}); take --format=openai or safetensors"
        )
    stack = config.transformer
    theirs = _stack_to(stack) | {
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
        labels = config.labels
        theirs |= {
            "metadata_dims": [labels.num_genres, labels.num_artists],
            "max_nb_genres": labels.max_genres,
            "timing_dims": labels.timing_bins,
            "min_duration": labels.min_duration,
            "max_duration": labels.max_duration,
            "sampling_rate": labels.sample_rate,
        }
    if config.upper is not None:
        upper = config.upper
        theirs |= {
            "res_conv_width": upper.width,
            "res_conv_depth": upper.depth,
            "res_convolution_multiplier": _whole(upper.m_conv, "upper.m_conv"),
            "res_dilation_growth_rate": upper.dilation_growth_rate,
            "res_dilation_cycle": upper.dilation_cycle,
            "conv_res_scale": upper.res_scale,
        }
    if config.lyrics is not None:
        lyrics = config.lyrics
        theirs |= {
            "nb_relevant_lyric_tokens": lyrics.num_tokens,
            "lyric_vocab_size": lyrics.vocab_size,
            "encoder_loss_fraction": lyrics.loss_fraction,
            "is_encoder_decoder": lyrics.kind == LyricsKind.SINGLE,
        }
        if lyrics.encoder is not None:
            theirs["encoder_config"] = _stack_to(lyrics.encoder) | {
                "n_ctx": lyrics.num_tokens,
                "is_encoder_decoder": False,
                "nb_relevant_lyric_tokens": 0,
                "merged_decoder": False,
            }
    return theirs


def _stack_from(theirs: dict, *, seq_len: int) -> TransformerConfig:
    pattern = theirs["attention_pattern"]
    if pattern not in ORDERS:
        raise ValueError(f"attention_pattern {pattern!r} is unknown; known: {', '.join(ORDERS)}")
    return TransformerConfig(
        emb_dim=theirs["hidden_size"],
        num_layers=theirs["num_layers"],
        num_heads=theirs["n_heads"],
        num_blocks=theirs["blocks"],
        attn_order=ORDERS[pattern],
        attn_ratio=theirs["attention_multiplier"],
        mlp_ratio=theirs["mlp_multiplier"],
        init_scale=theirs["init_scale"],
        res_scale=bool(theirs["attn_res_scale"]),
        zero_out=theirs["zero_out"],
        attn_dropout=float(theirs["attn_dropout"]),
        resid_dropout=float(theirs["resid_dropout"]),
        emb_dropout=float(theirs["emb_dropout"]),
        seq_len=seq_len,
    )


def prior_from(theirs: dict, number: int, vqvae: VQVAEConfig) -> PriorConfig:
    """The inverse of `prior_to`, for `priors[number]`."""
    known = PRIOR_DEFAULTS | theirs
    level = LEVELS - 1 - number
    lyrics = None
    if known["nb_relevant_lyric_tokens"]:
        single = known["is_encoder_decoder"]
        num_tokens = known["nb_relevant_lyric_tokens"]
        encoder = None
        if not single:
            encoder = _stack_from(
                PRIOR_DEFAULTS | (known["encoder_config"] or {}), seq_len=num_tokens
            )
        lyrics = LyricsConfig(
            kind=LyricsKind.SINGLE if single else LyricsKind.SEPARATE,
            num_tokens=num_tokens,
            vocab_size=known["lyric_vocab_size"],
            loss_fraction=known["encoder_loss_fraction"],
            encoder=encoder,
        )
    labels = upper = None
    if known["metadata_conditioning"]:
        num_genres, num_artists = known["metadata_dims"]
        labels = LabelConfig(
            num_artists=num_artists,
            num_genres=num_genres,
            max_genres=known["max_nb_genres"],
            timing_bins=known["timing_dims"],
            min_duration=float(known["min_duration"]),
            max_duration=float(known["max_duration"]),
            sample_rate=known["sampling_rate"],
        )
    if number:
        upper = CodeConditionerConfig(
            vocab_size=known["music_vocab_size"],
            downs=known["res_downs_t"][number],
            stride=known["res_strides_t"][number],
            width=known["res_conv_width"],
            depth=known["res_conv_depth"],
            dilation_growth_rate=known["res_dilation_growth_rate"],
            dilation_cycle=known["res_dilation_cycle"],
            res_scale=bool(known["conv_res_scale"]),
            m_conv=float(known["res_convolution_multiplier"]),
            zero_out=known["zero_out"],
            init_scale=known["init_scale"],
        )
    return PriorConfig(
        level=level,
        codebook_size=known["music_vocab_size"],
        hop_length=vqvae.hops[level],
        transformer=_stack_from(known, seq_len=known["n_ctx"]),
        upper=upper,
        labels=labels,
        lyrics=lyrics,
        merged_decoder=known["merged_decoder"],
    )


def model_config(configs: dict[str, VQVAEConfig | PriorConfig]) -> dict:
    """The config.json of a whole model, from ours by part.

    Raises:
      ValueError: the VQ-VAE is missing, or a level above one that is there.
    """
    priors = [configs.get(f"level_{level}") for level in reversed(range(LEVELS))]
    while priors and priors[-1] is None:
        priors.pop()
    if "vqvae" not in configs or not priors or None in priors:
        raise ValueError(
            "Transformers' Jukebox is a VQ-VAE with priors from the top level down, but here is "
            f"only {', '.join(sorted(configs))}"
        )
    vqvae, top = configs["vqvae"], priors[0]
    model = {
        "model_type": "jukebox",
        "architectures": ["JukeboxModel"],
        "vqvae_config": vqvae_to(vqvae),
        "prior_config_list": [prior_to(prior, vqvae) for prior in priors],
        "nb_priors": len(priors),
        "metadata_conditioning": top.labels is not None,
    }
    if top.labels is not None:
        model |= {
            "max_nb_genres": top.labels.max_genres,
            "timing_dims": top.labels.timing_bins,
            "min_duration": top.labels.min_duration,
            "max_duration": top.labels.max_duration,
            "sampling_rate": top.labels.sample_rate,
        }
    return model


def configs_from(theirs: dict) -> dict[str, VQVAEConfig | PriorConfig]:
    """Our configs by part, from a config.json of either of the port's two layouts."""
    if theirs.get("model_type") != "jukebox":
        raise ValueError(
            f"config.json is of a model of type {theirs.get('model_type')!r}, not jukebox"
        )
    vqvae = vqvae_from(theirs.get("vqvae_config") or {})
    listed = theirs.get("prior_config_list")
    if listed is None:
        listed = [theirs.get(f"prior_{i}") or {} for i in range(theirs.get("nb_priors", LEVELS))]
    priors = [prior_from(prior, number, vqvae) for number, prior in enumerate(listed)]
    return {"vqvae": vqvae, **{f"level_{prior.level}": prior for prior in priors}}
