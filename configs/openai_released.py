"""OpenAI's released models, to train from random or converted weights.

Models with lyrics need music that was prepared with them (docs/lyrics.md).

    python -m jukejax.train --config=configs/openai_released.py:upsampler1 \\
        --workdir=runs/upsampler1 --config.data.folder=CODES --config.data.batch_size=64

Variants, with their parameters:

    vqvae          1,485,763 (and 3 x 2048 x 64 codebook entries); data.folder holds audio
    upsampler0   981,298,176, level 0
    upsampler1   981,298,176, level 1
    1b_lyrics    942,643,200, top level; lyrics in the same sequence as the music
    5b         5,060,452,800, top level without lyrics
    5b_lyrics  5,640,506,800, top level with a lyric encoder of its own

The three top levels share the upsamplers and the VQ-VAE. One H200 (141 GB) trains 1b_lyrics or an
upsampler; the 5b models need `--config.mesh.fsdp` over several. OpenAI trained for
weeks on hundreds of V100s. Numbers are those of OpenAI's hparams.py; the batch size must be chosen.
"""

from ml_collections import ConfigDict

VARIANTS = ("1b_lyrics", "5b", "5b_lyrics", "upsampler1", "upsampler0", "vqvae")
# The id lists that the models were labeled with: v2, and v3 for 1b_lyrics alone.
LABELS_V2 = dict(num_genres=120, num_artists=4111, max_genres=5, timing_bins=128)
LABELS_V3 = dict(num_genres=604, num_artists=7898, max_genres=1, timing_bins=64)


def base(steps: int) -> ConfigDict:
    """Returns OpenAI's optimizer; the rate decays to zero over the last tenth, as in their runs."""
    config = ConfigDict()
    config.seed = 0
    config.dtype = "bfloat16"
    config.steps = steps
    config.log_every = 100
    config.eval_every = 5000
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


def vqvae() -> ConfigDict:
    config = base(steps=384_000)
    config.task = "vqvae"
    config.dtype = "float32"
    config.optimizer.weight_decay = 0.0
    config.data = dict(folder="", window=393_216, batch_size=8)  # 8.9 s
    config.model = dict(
        downs=(3, 2, 2),
        strides=(2, 2, 2),
        emb_dim=64,
        codebook_size=2048,
        width=32,
        depth=4,
        multipliers=(2, 1, 1),
        dilation_growth_rate=3,
        ema_decay=0.99,
    )
    config.loss = dict(recons="lmix", lmix_l2=1.0, lmix_linf=0.02, commit=0.02)
    return config


def prior(level: int) -> ConfigDict:
    """Returns the common values of all priors; hops are those of the VQ-VAE above."""
    config = base(steps=300_000)
    config.task = "prior"
    config.data = dict(folder="", batch_size=16)
    config.model = dict(level=level, codebook_size=2048, hop_length=(8, 32, 128)[level])
    return config


def upsampler(level: int) -> ConfigDict:
    """Returns an upsampler; a window has 1.5 s (level 0) or 5.9 s (level 1) of audio."""
    config = prior(level)
    config.model.transformer = dict(
        emb_dim=1920,
        num_layers=72,
        num_heads=1,
        seq_len=8192,
        num_blocks=128,
        attn_order=2,
        init_scale=0.4,
        remat="block",
    )
    config.model.labels = LABELS_V2
    config.model.upper = dict(
        vocab_size=2048,
        downs=2,
        stride=2,
        width=1024,
        depth=16,
        dilation_growth_rate=3,
        dilation_cycle=8,
        res_scale=level == 1,
        init_scale=0.4,
        remat=True,
    )
    return config


def prior_1b_lyrics() -> ConfigDict:
    """Returns the 1b prior; a window has 384 characters, then 17.8 s of audio."""
    config = prior(2)
    config.model.transformer = dict(
        emb_dim=2048,
        num_layers=72,
        num_heads=2,
        seq_len=6144,
        num_blocks=64,
        attn_order=12,
        init_scale=0.2,
        remat="block",
    )
    config.model.labels = dict(LABELS_V3, min_duration=17.84, max_duration=600.0)
    config.model.lyrics = dict(
        kind="single",
        num_tokens=384,
        vocab_size=79,
        loss_fraction=0.4,
        alignment_layer=63,
        alignment_head=0,
    )
    return config


def prior_5b(num_layers: int, attn_order: int, min_duration: float) -> ConfigDict:
    """Returns the 5b prior; a window has 23.8 s of audio."""
    config = prior(2)
    config.model.transformer = dict(
        emb_dim=4800,
        num_layers=num_layers,
        num_heads=8,
        seq_len=8192,
        num_blocks=128,
        attn_order=attn_order,
        init_scale=0.1,
        remat="block",
    )
    config.model.labels = dict(LABELS_V2, min_duration=min_duration, max_duration=600.0)
    config.model.merged_decoder = True
    return config


def get_config(arg: str = "1b_lyrics") -> ConfigDict:
    """Returns the config of a variant; `arg` is one of VARIANTS."""
    if arg == "vqvae":
        return vqvae()
    if arg in ("upsampler0", "upsampler1"):
        return upsampler(int(arg[-1]))
    if arg == "1b_lyrics":
        return prior_1b_lyrics()
    if arg == "5b":
        config = prior_5b(num_layers=72, attn_order=2, min_duration=60.0)
        config.optimizer.beta2 = 0.925
        return config
    if arg == "5b_lyrics":
        config = prior_5b(num_layers=79, attn_order=10, min_duration=23.8)
        encoder = dict(
            emb_dim=1280,
            num_layers=18,
            num_heads=4,
            seq_len=512,
            num_blocks=32,
            attn_order=2,
            init_scale=0.7,
            remat="block",
        )
        config.model.lyrics = dict(
            kind="separate",
            num_tokens=512,
            vocab_size=80,
            loss_fraction=0.4,
            encoder=encoder,
            alignment_layer=68,
            alignment_head=2,
        )
        return config
    raise ValueError(
        f"configs/openai_released.py has no variant {arg!r}; take one of {', '.join(VARIANTS)}"
    )
