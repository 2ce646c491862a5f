"""The VQ-VAE of OpenAI's release, trained on your own records: about 50 hours of house music.

    python -m jukejax.train --config=configs/house_vqvae.py --workdir=runs/vqvae \\
        --config.data.folder=data/audio

hardware    one GPU of 16 GB or more
batch       8 windows of 3.0 s (131,072 samples), in 2 parts; an epoch of 50 hours is 7,570 steps
parameters  1,485,763, and 3 x 2048 x 64 codebook entries
memory      12.4 of 16 GB, compiled for a V100 but not run; JAX takes 75 % of a GPU unless
            XLA_PYTHON_CLIENT_MEM_FRACTION=0.92 is set (launch/gpu_local.sh does)
time        not measured

The released model was trained on windows of 8.9 s: `--config.data.window=393216` where memory
allows. The rate stays constant, as in OpenAI's run, and falls to zero over the last tenth; if the
held-out reconstruction stops improving before that, it falls from there
(`schedule.anneal_on_stall`). To start from the released weights and codebooks:
`--config.init_from=BUNDLE`. The codebooks are updated too, so that priors of the old codes must be
fine-tuned on the new ones.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config, which has no variants."""
    if arg:
        raise ValueError(f"configs/house_vqvae.py has no variant {arg!r}; remove it")
    config = ConfigDict()
    config.task = "vqvae"
    config.seed = 0
    config.init_from = ""
    config.dtype = "float32"  # OpenAI's choice; codebooks are float32 with any dtype
    config.steps = 200_000
    config.log_every = 100
    config.eval_every = 4000
    config.eval_batches = 64
    config.checkpoint_every = 2000
    config.keep = 2
    config.keep_best = 1
    config.mesh = dict(data=-1, fsdp=1, tensor=1, slices=1)
    config.accumulate = 2  # 4 windows at a time: all 8 do not fit a V100 of 16 GB
    config.data = dict(
        folder="data/audio", window=131_072, batch_size=8, aug_shift=True, aug_blend=True
    )
    config.optimizer = dict(
        learning_rate=3e-4,
        warmup_steps=100,
        decay_start=180_000,
        decay_steps=20_000,
        weight_decay=0.0,
        clip=1.0,
        ema_decay=0.999,
    )
    config.schedule = dict(anneal_on_stall=10, anneal_steps=20_000, smoothing=100, stop_on_stall=0)
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
        restart_threshold=1.0,
        remat=False,
    )
    config.loss = dict(recons="lmix", lmix_l2=1.0, lmix_linf=0.02, multispectral=1.0, commit=0.02)
    return config
