"""A VQ-VAE and a small prior with lyrics, of the embedded singer alone, for two cores.

    python -m jukejax.prepare --input=house --nohouse_instruments --house_lyrics \\
        --house_tracks=1500 --house_seconds=15 --fades=keep --separator=none --heldout=0.04 \\
        --output=data/sung/audio
    python -m jukejax.train --config=configs/house_lyrics.py:vqvae --workdir=runs/sung/vqvae
    python -m jukejax.encode --vqvae=runs/sung/vqvae --input=data/sung/audio \\
        --output=data/sung/codes
    python -m jukejax.train --config=configs/house_lyrics.py:prior --workdir=runs/sung/prior

docs/lyrics.md has the results. A window of the prior has 1.5 s of singing, and 24 letters around
the middle of it. Every layer attends to the letters: the sequence of the "single" form is dense.
In nine of ten training windows codes are hidden from the inputs: a small prior does not begin to
read the letters while the codes before tell nearly all that they tell.
"""

from ml_collections import ConfigDict

STAGES = ("vqvae", "prior")


def base(folder: str, batch_size: int, steps: int, learning_rate: float) -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.dtype = "float32"
    config.keep = 1
    config.eval_batches = 16
    config.mesh = dict(data=1, fsdp=1, tensor=1)
    config.sample_every = 0
    config.data = dict(folder=folder, batch_size=batch_size)
    config.steps = steps
    config.log_every = 20
    config.eval_every = max(steps // 4, 1)
    config.checkpoint_every = max(steps // 8, 1)
    config.optimizer = dict(
        learning_rate=learning_rate,
        warmup_steps=min(50, steps // 10),
        decay_start=steps // 2,
        decay_steps=steps - steps // 2,
        ema_decay=0.99,
    )
    return config


# What the codes of a frame describe, in Hz (`ops.turns`): two formants, consonants, and pitches.
TURNS = (
    ("strokes", 200, 1000),
    ("strokes", 1000, 3500),
    ("strokes", 3500, 16000),
    ("tones", 0, 1000),
)


def vqvae() -> ConfigDict:
    """One level of hop 512, whose codes describe spectra as in house_small.py."""
    config = base("data/sung/audio", batch_size=4, steps=300, learning_rate=2e-3)
    config.task = "vqvae"
    config.data.window = 16_384
    config.model = dict(
        downs=(9,),
        strides=(2,),
        multipliers=(1,),
        emb_dim=32,
        codebook_size=512,
        dilation_growth_rate=3,
        dilation_cycle=3,
        res_scale=True,
        frames=dict(span=4, widths=(128,), depths=(4,), turns=(TURNS,)),
    )
    config.loss = dict(recons="l2", multispectral=1.0, log_spectral=0.2, commit=1.0)
    return config


def prior() -> ConfigDict:
    """The prior: letters, then music, in one sequence."""
    config = base("data/sung/codes", batch_size=32, steps=4300, learning_rate=3e-3)
    config.task = "prior"
    config.model = dict(
        level=0,
        transformer=dict(
            emb_dim=192,
            num_layers=4,
            num_heads=2,
            seq_len=128,
            num_blocks=8,
            attn_order=0,
            attn_ratio=0.5,
        ),
        lookback=(len(TURNS), 2 * len(TURNS)),
        context_dropout=0.9,
        labels=dict(
            max_genres=1,
            min_duration=1.0,
            max_duration=30.0,
            timing_bins=64,
            turns=len(TURNS),
        ),
        lyrics=dict(kind="single", num_tokens=24, alphabet="unicode", loss_fraction=0.4),
    )
    config.optimizer.weight_decay = 0.01
    return config


def get_config(arg: str = "prior") -> ConfigDict:
    """Returns the config of a stage, one of `STAGES`."""
    if arg == "vqvae":
        return vqvae()
    if arg == "prior":
        return prior()
    raise ValueError(
        f"configs/house_lyrics.py has no variant {arg!r}; take one of {', '.join(STAGES)}"
    )
