"""OpenAI's small models, which OpenAI suggests for a new corpus.

    python -m jukejax.train --config=configs/openai_small.py:small_prior \\
        --workdir=runs/small_prior --config.data.folder=CODES

Variants, with their parameters:

    small_vqvae                  586,050 (and 2 x 1024 x 64 codebook entries); hops 32 and 256
    small_prior              161,862,656, top level
    small_labelled_prior     162,170,880, top level with artist, genre and timing
    small_single_enc_dec_prior  160,547,840, the same with lyrics in the sequence of the music
    small_sep_enc_dec_prior  168,633,280, the same with a lyric encoder of its own
    small_upsampler          218,015,232, level 0 over small_vqvae

The priors are those over the released VQ-VAE (2048 codes, hop 128), and small_upsampler is the one
over small_vqvae (1024 codes, hop 32), as counted above. With "-22k" at its end a prior is over the
top level of small_vqvae instead (level 1, 1024 codes, hop 256), as in the recipe of OpenAI's README
at 22,050 Hz, which `SIZE=openai_small make from-scratch` runs:

    python -m jukejax.prepare --sample_rate=22050 ...
    python -m jukejax.train --config=configs/openai_small.py:small_vqvae ...
    python -m jukejax.encode ...
    python -m jukejax.train --config=configs/openai_small.py:small_prior-22k ...
    python -m jukejax.train --config=configs/openai_small.py:small_upsampler ...
    python -m jukejax.export ...
    python -m jukejax.sample ...

The published house run (README.md) probably used small_prior: one V100, four days. A corpus with
more than 10 genres or 100 artists needs `--config.model.labels.num_genres` and `num_artists`.
Numbers are those of OpenAI's hparams.py.
"""

from ml_collections import ConfigDict

VARIANTS = (
    "small_prior",
    "small_labelled_prior",
    "small_single_enc_dec_prior",
    "small_sep_enc_dec_prior",
    "small_upsampler",
    "small_vqvae",
)
LABELS = dict(
    num_genres=10,
    num_artists=100,
    max_genres=1,
    timing_bins=64,
    min_duration=60.0,
    max_duration=600.0,
)
LYRICS = dict(num_tokens=384, vocab_size=79, loss_fraction=0.4)


def base(steps: int) -> ConfigDict:
    """Returns OpenAI's optimizer; the rate decays to zero over the last tenth, as in their runs."""
    config = ConfigDict()
    config.seed = 0
    config.dtype = "bfloat16"
    config.steps = steps
    config.log_every = 100
    config.eval_every = 2000
    config.eval_batches = 32
    config.checkpoint_every = 1000
    config.keep = 3
    config.mesh = dict(data=-1, fsdp=1, tensor=1)
    config.optimizer = dict(
        adam="openai",
        ema_bias_correction=False,
        learning_rate=3e-4,
        warmup_steps=100,
        decay_start=steps - steps // 10,
        decay_steps=steps // 10,
        beta2=0.999,
        weight_decay=0.01,
    )
    return config


def small_vqvae() -> ConfigDict:
    config = base(steps=100_000)
    config.task = "vqvae"
    config.dtype = "float32"
    config.optimizer.weight_decay = 0.0
    config.data = dict(folder="", window=262_144, batch_size=4)
    config.model = dict(
        downs=(5, 3),
        strides=(2, 2),
        emb_dim=64,
        codebook_size=1024,
        width=32,
        depth=4,
        multipliers=(1, 1),
        dilation_growth_rate=3,
        ema_decay=0.99,
    )
    config.loss = dict(recons="l2", commit=0.02)
    return config


def prior(seq_len: int, num_layers: int, num_heads: int, attn_order: int) -> ConfigDict:
    """Returns the prior of the released VQ-VAE's top level, of width 1024, with 64 rows."""
    config = base(steps=100_000)
    config.task = "prior"
    config.data = dict(folder="", batch_size=4)
    config.model = dict(level=2, codebook_size=2048, hop_length=128)
    config.model.transformer = dict(
        emb_dim=1024,
        num_layers=num_layers,
        num_heads=num_heads,
        seq_len=seq_len,
        num_blocks=64,
        attn_order=attn_order,
        init_scale=0.7,
        remat="block",
    )
    return config


def small_upsampler() -> ConfigDict:
    """Returns the upsampler of small_vqvae's level 0; an upper code spans 8 codes."""
    config = prior(seq_len=8192, num_layers=48, num_heads=1, attn_order=2)
    config.model.update(level=0, codebook_size=1024, hop_length=32)
    config.model.upper = dict(
        vocab_size=1024,
        downs=3,
        stride=2,
        width=512,
        depth=16,
        dilation_growth_rate=3,
        dilation_cycle=8,
        init_scale=0.7,
        remat=True,
    )
    return config


def get_config(arg: str = "small_prior") -> ConfigDict:
    """Returns the config of a variant.

    Args:
      arg: one of VARIANTS; a prior's may end in "-22k".
    """
    if arg.endswith("_prior-22k"):
        config = get_config(arg.removesuffix("-22k"))
        config.model.update(level=1, codebook_size=1024, hop_length=256)
        return config
    if arg == "small_vqvae":
        return small_vqvae()
    if arg == "small_upsampler":
        return small_upsampler()
    if arg in ("small_prior", "small_labelled_prior"):
        config = prior(seq_len=8192, num_layers=48, num_heads=1, attn_order=2)
    elif arg == "small_single_enc_dec_prior":
        config = prior(seq_len=6144, num_layers=48, num_heads=2, attn_order=12)
        config.model.lyrics = dict(LYRICS, kind="single")
    elif arg == "small_sep_enc_dec_prior":
        config = prior(seq_len=6144, num_layers=50, num_heads=2, attn_order=8)
        encoder = dict(
            emb_dim=256,
            num_layers=9,
            num_heads=2,
            seq_len=384,
            num_blocks=32,
            attn_order=2,
            init_scale=0.7,
            remat="block",
        )
        config.model.lyrics = dict(LYRICS, kind="separate", encoder=encoder)
    else:
        raise ValueError(
            f"configs/openai_small.py has no variant {arg!r}; take one of {', '.join(VARIANTS)}"
        )
    if arg != "small_prior":
        config.model.labels = LABELS
    return config
