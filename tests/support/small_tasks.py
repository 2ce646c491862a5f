"""Every kind of model at the smallest size that eight devices can share, and batches for it."""

import numpy as np
from ml_collections import ConfigDict

BATCH, STEPS = 16, 2
TRANSFORMER = dict(emb_dim=64, num_layers=6, num_heads=8, seq_len=16, num_blocks=4)
MODELS = {
    "vqvae": dict(
        task="vqvae",
        model=dict(
            downs=(1, 1),
            strides=(4, 2),
            multipliers=(1, 1),
            width=8,
            depth=1,
            emb_dim=8,
            codebook_size=16,
            ema_decay=0.5,
        ),
        loss=dict(
            linf_k=32,
            multispectral_n_fft=(256,),
            multispectral_hop=(64,),
            multispectral_window=(128,),
        ),
    ),
    "prior": dict(
        task="prior",
        model=dict(
            level=2,
            codebook_size=24,
            transformer=TRANSFORMER,
            labels=dict(num_artists=8, num_genres=8, max_genres=2, timing_bins=8),
        ),
    ),
    "upsampler": dict(
        task="prior",
        model=dict(
            level=1,
            codebook_size=24,
            transformer=TRANSFORMER,
            upper=dict(vocab_size=24, downs=2, stride=2, width=8, depth=2),
        ),
    ),
}


def config_of(name, accumulate=1, remat="none"):
    config = ConfigDict(MODELS[name])
    config.dtype = "float32"
    config.accumulate = accumulate
    config.data = dict(folder="", batch_size=BATCH)
    if config.task == "vqvae":
        config.data.window = 2048
    # Adam divides by |gradient| + eps: without a large eps its first steps would blow up the
    # rounding of gradients that are zero.
    config.optimizer = dict(learning_rate=0.01, warmup_steps=1, eps=1e-2, ema_decay=0.5)
    if config.task == "prior":
        config.model.transformer.remat = remat
    return config


def batches(task):
    random = np.random.default_rng(0)
    for _ in range(STEPS):
        batch = {}
        for name, leaf in task.batch_shapes(BATCH).items():
            if name == "audio":
                batch[name] = random.normal(0, 0.3, leaf.shape).astype(np.float32)
            else:
                batch[name] = random.integers(0, 8, leaf.shape).astype(np.int32)
        if "labels" in batch:  # total length, offset and length in samples
            batch["labels"][:, :3] = [10_000_000, 100_000, 2048]
        yield batch
