"""The 5b top prior on a TPU pod: 4800 wide, 72 layers, 23.8 s of audio in a window, labeled.

    launch/tpu_pod.sh NAME ZONE --config=configs/pod_prior_5b.py --workdir=gs://BUCKET/runs/5b \\
        --config.data.folder=gs://BUCKET/codes

hardware    v5e-256 (topology 16x16, 64 hosts of 4 chips); the mesh below also fits v4-128 (64
            chips, topology 4x4x4), whose chips hold twice as much. `fsdp` must divide the width,
            4800 = 64 x 75, so that every weight is sharded 64 times; `data` is the rest of the
            pod (4 x 64 = 256).
variant     `configs/pod_prior_5b.py:8gpus` for one host of 8 GPUs: 8 windows a step; 18.6 GB of
            each H100's 80 GB, compiled but not run
batch       512 windows (4.2 M codes) a step, in 2 parts: one window a chip at a time on 256 chips
parameters  5,040,153,600 with one artist and one genre; 4800 more for every further name
memory      of each chip, compiled but not run: v5e-256 9.6 of 16 GB, v4-128 28.5 of 32 GB; 1.3 GB
            are parameters, two Adam averages and the EMA in float32 (81 GB in all), the rest
            gradients and activations. The compiler's figure of every part is printed by
            `bench train --aot=v5e:16x16 --config=configs/pod_prior_5b.py`
time        not measured

With the artists of OpenAI's list (4111) and its 120 genres the model is their released 5b, from
which it can start: `--config.init_from=BUNDLE`. Schedule: that of the published house run, see
house_prior.py.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of a pod, or the variant "8gpus" for one host."""
    if arg not in ("", "8gpus"):
        raise ValueError(f"configs/pod_prior_5b.py has no variant {arg!r}; its only one is 8gpus")
    config = ConfigDict()
    config.task = "prior"
    config.seed = 0
    config.init_from = ""
    config.dtype = "bfloat16"
    config.steps = 300_000  # at the latest: the schedule below ends the run before
    config.log_every = 100
    config.eval_every = 5000
    config.eval_batches = 8
    config.checkpoint_every = 1000
    config.keep = 2
    config.keep_best = 1
    config.mesh = dict(data=-1, fsdp=64, tensor=1, slices=1)
    config.accumulate = 2
    config.data = dict(folder="", batch_size=512)
    config.optimizer = dict(
        learning_rate=3e-4,
        warmup_steps=1000,
        decay_start=270_000,
        decay_steps=30_000,
        beta2=0.925,
        weight_decay=0.01,
        no_decay=("bias", "norm", "embedding"),
        clip=1.0,
        ema_decay=0.999,
    )
    config.schedule = dict(
        anneal_at_bits=2.0,
        anneal_on_stall=5,
        anneal_steps=30_000,
        smoothing=500,
        stop_on_stall=0,
    )
    config.model = dict(level=2, merged_decoder=True)
    config.model.transformer = dict(
        emb_dim=4800,
        num_layers=72,
        num_heads=8,
        seq_len=8192,
        num_blocks=128,
        attn_order=2,
        init_scale=0.1,
        attn_dropout=0.0,
        resid_dropout=0.0,
        emb_dropout=0.0,
        remat="full",
    )
    config.model.labels = dict(max_genres=5, timing_bins=128, min_duration=23.8, max_duration=600.0)
    if arg == "8gpus":
        config.mesh.update(data=1, fsdp=8)
        config.accumulate = 1
        config.data.batch_size = 8
    return config
