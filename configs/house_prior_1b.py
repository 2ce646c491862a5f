"""A top prior of the released 1b model's width and depth, without lyrics, for a large collection.

    python -m jukejax.train --config=configs/house_prior_1b.py --workdir=runs/prior_1b \\
        --config.data.folder=data/codes

hardware    one H200 (141 GB), or several GPUs: `--config.mesh.fsdp=8` shards the weights over 8
batch       16 windows of 8192 codes (23.8 s each): 131,072 codes a step
parameters  928,481,280 with one artist and one genre; 2048 more for every further name
variant     `configs/house_prior_1b.py:24gb` for one card of 24 GB: one window a step, moments in
            bfloat16, `remat="full"`; 16.6 GB, compiled for an RTX 4090 but not run
memory      81.3 of 141 GB, compiled for an H200 but not run: 14.9 GB are parameters, two Adam
            averages and the EMA in float32, the rest gradients and activations;
            55.4 of an H100's 80 GB with `--config.accumulate=2`
time        not measured

For far more than 50 hours, on which the small model of the published house run already copied
intros. Conditioned on artist, genre and timing. Recipe: that of the same run, see house_prior.py.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of 16 windows a step, or the variant "24gb" for one card of that size."""
    if arg not in ("", "24gb"):
        raise ValueError(f"configs/house_prior_1b.py has no variant {arg!r}; its only one is 24gb")
    config = ConfigDict()
    config.task = "prior"
    config.seed = 0
    config.init_from = ""
    config.dtype = "bfloat16"
    config.steps = 200_000  # at the latest: the schedule below ends the run before
    config.log_every = 50
    config.eval_every = 2000
    config.eval_batches = 32
    config.checkpoint_every = 1000
    config.keep = 2
    config.keep_best = 1
    config.mesh = dict(data=-1, fsdp=1, tensor=1, slices=1)
    config.accumulate = 1
    config.data = dict(folder="data/codes", batch_size=16)
    config.optimizer = dict(
        learning_rate=3e-4,
        warmup_steps=500,
        decay_start=180_000,
        decay_steps=20_000,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.999,
    )
    config.schedule = dict(
        anneal_at_bits=2.0,
        anneal_on_stall=5,
        anneal_steps=20_000,
        smoothing=200,
        stop_on_stall=0,
    )
    config.model = dict(level=2)
    config.model.transformer = dict(
        emb_dim=2048,
        num_layers=72,
        num_heads=2,
        seq_len=8192,
        num_blocks=64,
        attn_order=2,
        init_scale=0.2,
        attn_dropout=0.0,
        resid_dropout=0.0,
        emb_dropout=0.0,
        remat="block",
    )
    config.model.labels = dict(max_genres=1, timing_bins=64, min_duration=23.8, max_duration=600.0)
    if arg == "24gb":
        config.data.batch_size = 1
        config.optimizer.moment_dtype = "bfloat16"
        config.model.transformer.remat = "full"
    return config
