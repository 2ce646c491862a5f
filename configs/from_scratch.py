"""The models of `make from-scratch`: every stage of the pipeline at a size for two cores.

    python -m jukejax.train --config=configs/from_scratch.py:vqvae      --workdir=runs/vqvae
    python -m jukejax.train --config=configs/from_scratch.py:prior      --workdir=runs/prior
    python -m jukejax.train --config=configs/from_scratch.py:upsampler1 --workdir=runs/upsampler1
    python -m jukejax.train --config=configs/from_scratch.py:upsampler0 --workdir=runs/upsampler0

They take minutes each; launch/from_scratch.sh runs all stages, with the folders of its corpus.
`configs/from_scratch.py:vqvae-gpu` (and so on) is the same pipeline at a size for one GPU;
`configs/from_scratch.py:gpu` alone means its VQ-VAE.
"""

from ml_collections import ConfigDict

SIZES = ("cpu", "gpu")
STAGES = ("vqvae", "prior", "upsampler1", "upsampler0")


def base() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.dtype = "float32"
    config.keep = 2
    config.eval_batches = 4
    config.mesh = dict(data=-1, fsdp=1, tensor=1)
    return config


def schedule(config: ConfigDict, steps: int, learning_rate: float, ema_decay: float) -> None:
    """Sets the steps and the optimizer: warm-up, then a linear decay over the last half."""
    config.steps = steps
    config.log_every = max(steps // 40, 1)
    config.eval_every = max(steps // 4, 1)
    config.checkpoint_every = max(steps // 4, 1)
    config.optimizer = dict(
        learning_rate=learning_rate,
        warmup_steps=max(steps // 20, 1),
        decay_start=steps // 2,
        decay_steps=steps - steps // 2,
        ema_decay=ema_decay,
    )


def vqvae(gpu: bool) -> ConfigDict:
    """Returns a VQ-VAE with hops 8, 32 and 128, as the released one; narrower on the CPU."""
    config = base()
    config.task = "vqvae"
    if gpu:
        config.data = dict(folder="runs/from_scratch/audio", window=65536, batch_size=16)
        config.model = dict(width=32, depth=4, emb_dim=64, codebook_size=2048)
        schedule(config, steps=1000, learning_rate=3e-4, ema_decay=0.99)
    else:
        config.data = dict(folder="runs/from_scratch/audio", window=8192, batch_size=4)
        config.model = dict(
            width=20, depth=2, emb_dim=32, codebook_size=256, multipliers=(1, 1, 1), ema_decay=0.95
        )
        schedule(config, steps=240, learning_rate=3e-3, ema_decay=0.97)
    config.loss = dict(linf_k=512)
    return config


def prior(gpu: bool, level: int) -> ConfigDict:
    """Returns a prior with attention pattern 2 (own row, own column, previous row)."""
    config = base()
    config.task = "prior"
    if gpu:
        config.dtype = "bfloat16"
        config.data = dict(folder="runs/from_scratch/codes", batch_size=16)
        transformer = dict(emb_dim=512, num_layers=12, num_heads=4, seq_len=2048, num_blocks=32)
        schedule(config, steps=1000, learning_rate=6e-4, ema_decay=0.99)
    else:
        config.data = dict(folder="runs/from_scratch/codes", batch_size=8 if level == 2 else 4)
        seq_len, num_blocks = (512, 16) if level == 2 else (1024, 32)
        transformer = dict(
            emb_dim=192, num_layers=6, num_heads=4, seq_len=seq_len, num_blocks=num_blocks
        )
        steps = 280 if level == 2 else 160  # the top level learns repetition late
        schedule(config, steps=steps, learning_rate=2.5e-3, ema_decay=0.97)
    config.model = dict(level=level, transformer=dict(transformer, attn_order=2))
    if level == 2:
        config.model.labels = dict(max_genres=1, min_duration=1.0, timing_bins=32)
    else:
        width, depth = (256, 8) if gpu else (48, 6)
        config.model.upper = dict(
            downs=2, stride=2, width=width, depth=depth, dilation_cycle=4, res_scale=level == 1
        )
    return config


def get_config(arg: str = "vqvae") -> ConfigDict:
    """Returns the config of a stage.

    Args:
      arg: one of STAGES, with "-gpu" for the larger size; "gpu" alone is "vqvae-gpu".
    """
    stage, _, size = arg.partition("-") if arg not in SIZES else ("vqvae", "-", arg)
    size = size or "cpu"
    if stage not in STAGES or size not in SIZES:
        raise ValueError(
            f"configs/from_scratch.py has no variant {arg!r}; take one of {', '.join(STAGES)}, "
            "with -gpu behind it for the larger size"
        )
    gpu = size == "gpu"
    if stage == "vqvae":
        config = vqvae(gpu)
    else:
        config = prior(gpu, level={"prior": 2, "upsampler1": 1, "upsampler0": 0}[stage])
    config.sample_every = config.eval_every if gpu else 0  # the page of the run has samples
    return config
