"""Every stage at the smallest size with all components, for tests; seconds on a CPU.

    python -m jukejax.train --config=configs/tiny.py:vqvae --workdir=runs/tiny_vqvae

Variants: vqvae, prior (top level, labeled), upsampler1, upsampler0.
"""

from ml_collections import ConfigDict

LEVELS = {"prior": 2, "upsampler1": 1, "upsampler0": 0}


def get_config(arg: str = "vqvae") -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.dtype = "float32"
    config.steps = 12
    config.log_every = 1
    config.eval_every = 6
    config.eval_batches = 2
    config.sample_every = 0
    config.checkpoint_every = 3
    config.keep = 2
    config.mesh = dict(data=1, fsdp=1, tensor=1)
    config.optimizer = dict(
        learning_rate=1e-3, warmup_steps=2, decay_start=6, decay_steps=6, ema_decay=0.9
    )
    if arg == "vqvae":
        config.task = "vqvae"
        config.data = dict(folder="", window=2048, batch_size=2)
        config.model = dict(
            width=8, depth=1, emb_dim=8, codebook_size=32, multipliers=(2, 1, 1), ema_decay=0.9
        )
        config.loss = dict(linf_k=128)
        return config
    if arg not in LEVELS:
        raise ValueError(f"configs/tiny.py has no variant {arg!r}; take vqvae, {', '.join(LEVELS)}")
    config.task = "prior"
    config.data = dict(folder="", batch_size=2)
    transformer = dict(
        emb_dim=32, num_layers=3, num_heads=2, seq_len=128, num_blocks=8, attn_order=2
    )
    config.model = dict(level=LEVELS[arg], transformer=transformer)
    if arg == "prior":
        config.model.labels = dict(max_genres=1, min_duration=1.0, timing_bins=8)
    else:
        config.model.upper = dict(downs=2, stride=2, width=8, depth=2, res_scale=arg[-1] == "1")
    return config
