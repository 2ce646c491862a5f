"""The two upsamplers under a top prior, at the size of house_prior.py.

    for level in level_1 level_0; do
      python -m jukejax.train --config=configs/house_upsampler.py:$level --workdir=runs/$level \\
          --config.data.folder=data/codes
    done

hardware    one V100: float16 with a dynamic loss scale (`--config.dtype=bfloat16` on an A100, H100
            or TPU)
batch       8 windows of 8192 codes (level 1: 5.9 s, level 0: 1.5 s), in 2 parts: 65,536 codes a
            step. 50 hours are 248 M codes of level 1 (3,785 steps an epoch), and 992 M of level 0
            (15,140 steps)
parameters  202,270,720 with one artist and one genre; 1024 more for every further name
memory      11.5 of 16 GB at either level, compiled for a V100 but not run
time        not measured

The released upsamplers are 1920 wide, 72 layers deep, 981 M parameters: configs/openai_released.py,
and `--config.init_from=BUNDLE` to fine-tune them. Recipe: that of the published house run, see
house_prior.py; if the loss does not reach 2.0 bits, the decay starts on a stalled held-out loss, or
over the last 10,000 steps. Conditioned on artist and genre, which are "unknown" for a corpus
without labels.
"""

from ml_collections import ConfigDict

LEVELS = {"level_1": 1, "level_0": 0}


def get_config(arg: str = "level_1") -> ConfigDict:
    """Returns the config of a variant; `arg` is one of LEVELS."""
    if arg not in LEVELS:
        raise ValueError(
            f"configs/house_upsampler.py has no variant {arg!r}; take {' or '.join(LEVELS)}"
        )
    level = LEVELS[arg]
    config = ConfigDict()
    config.task = "prior"
    config.seed = 0
    config.init_from = ""
    config.dtype = "float16"
    config.loss_scale = dict(initial=65536.0, window=1000)
    config.steps = 120_000
    config.log_every = 50
    config.eval_every = 2000
    config.eval_batches = 32
    config.checkpoint_every = 1000
    config.keep = 2
    config.keep_best = 1
    config.mesh = dict(data=-1, fsdp=1, tensor=1, slices=1)
    config.accumulate = 2  # 4 windows at a time: all 8 do not fit a V100 of 16 GB
    config.data = dict(folder="data/codes", batch_size=8)
    config.optimizer = dict(
        learning_rate=3e-4,
        warmup_steps=100,
        decay_start=110_000,
        decay_steps=10_000,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.999,
    )
    config.schedule = dict(
        anneal_at_bits=2.0,
        anneal_on_stall=5,
        anneal_steps=10_000,
        smoothing=200,
        stop_on_stall=0,
    )
    config.model = dict(level=level)
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
    config.model.upper = dict(
        downs=2,
        stride=2,
        width=512,
        depth=16,
        dilation_growth_rate=3,
        dilation_cycle=8,
        res_scale=level == 1,
        init_scale=0.7,
        remat=True,
    )
    config.model.labels = dict(max_genres=1)
    return config
