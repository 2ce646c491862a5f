"""The published house run's model: a small top prior on about 50 hours of house, on one V100.

README.md says what that run is.

    python -m jukejax.train --config=configs/house_prior.py --workdir=runs/prior \\
        --config.data.folder=data/codes

hardware    one V100: float16 with a dynamic loss scale (`--config.dtype=bfloat16` on an A100, H100
            or TPU, float32 on a CPU)
batch       4 windows of 8192 codes (23.8 s each): 32,768 codes a step. 50 hours are 62 M codes, so
            an epoch is 1,892 steps, and the run's 48 epochs are 90,000 steps
parameters  161,862,656
memory      8.9 of 16 GB, compiled for a V100 but not run (13.5 GB with 8 windows); `bench train
            --aot=v100:1 --config=configs/house_prior.py` prints every part
time        not measured here; published as 4 days, which is 8.5 k codes a second, 6 % MFU

The recipe is that of the published house run: full rate until the smoothed training loss is at 2.0
bits a code (`schedule.anneal_at_bits`), then a linear decay to zero, where the run ends. In
addition, the same decay starts after 5 consecutive held-out evaluations without improvement
(`anneal_on_stall`), and the best checkpoint is kept. The published model copied intros: watch the
gap to the held-out tracks in metrics.jsonl, and run `audit` on samples. More music helps most; then
`--config.model.transformer.resid_dropout=0.1`.

Variant `labelled` is conditioned on artist, genre and timing (162,170,880 parameters with 100
artists and 10 genres). To start from trained weights of the same shape:
`--config.init_from=BUNDLE_OR_WORKDIR`.
"""

from ml_collections import ConfigDict

VARIANTS = ("", "labelled")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of a variant; `arg` is one of VARIANTS."""
    if arg not in VARIANTS:
        raise ValueError(f"configs/house_prior.py has no variant {arg!r}; take labelled, or none")
    config = ConfigDict()
    config.task = "prior"
    config.seed = 0
    config.init_from = ""
    config.dtype = "float16"
    config.loss_scale = dict(initial=65536.0, window=1000)
    config.steps = 120_000  # at the latest: the schedule below ends the run before
    config.log_every = 50
    config.eval_every = 1892  # once an epoch of 50 hours
    config.eval_batches = 32
    config.checkpoint_every = 1000
    config.keep = 2
    config.keep_best = 1
    config.mesh = dict(data=-1, fsdp=1, tensor=1, slices=1)
    config.accumulate = 1
    config.data = dict(folder="data/codes", batch_size=4)
    config.optimizer = dict(
        learning_rate=3e-4,
        warmup_steps=100,
        decay_start=110_000,
        decay_steps=10_000,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.9995,
    )
    config.schedule = dict(
        anneal_at_bits=2.0,
        anneal_on_stall=5,
        anneal_steps=10_000,
        smoothing=200,
        stop_on_stall=0,
    )
    config.model = dict(level=2)
    config.model.transformer = dict(
        emb_dim=1024,
        num_layers=48,
        num_heads=1,
        seq_len=8192,
        num_blocks=64,
        attn_order=2,
        init_scale=0.7,
        attn_dropout=0.0,
        resid_dropout=0.0,
        emb_dropout=0.0,
        remat="block",
    )
    if arg == "labelled":
        config.model.labels = dict(
            max_genres=1, timing_bins=64, min_duration=60.0, max_duration=600.0
        )
    return config
