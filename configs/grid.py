"""A small top prior that obeys tempo, key and position in the bar, on the embedded corpus.

    python -m jukejax.train --config=configs/grid.py --workdir=runs/grid \\
        --config.data.folder=data/codes
    python -m jukejax.train --config=configs/grid.py:without-bar --workdir=runs/without_bar \\
        --config.data.folder=data/codes

docs/grid.md has the commands before and after these, and what came out.
"""

from ml_collections import ConfigDict

VARIANTS = ("with-bar", "without-bar")


def get_config(arg: str = "with-bar") -> ConfigDict:
    """Returns the config; "without-bar" leaves out the position in the bar."""
    if arg not in VARIANTS:
        raise ValueError(f"configs/grid.py has no variant {arg!r}; take {' or '.join(VARIANTS)}")
    config = ConfigDict()
    config.task = "prior"
    config.seed = 0
    config.dtype = "float32"
    config.keep = 2
    config.mesh = dict(data=-1, fsdp=1, tensor=1)
    config.data = dict(folder="data/codes", batch_size=4)
    config.model = dict(
        level=2,
        transformer=dict(
            emb_dim=256, num_layers=9, num_heads=4, seq_len=2048, num_blocks=32, attn_order=2
        ),
        labels=dict(
            max_genres=1,
            min_duration=1.0,
            timing_bins=32,
            tempo_bins=64,
            keys=24,
            bar_bins=192 if arg == "with-bar" else 0,
            dropout=0.1,
            dropout_all=0.1,
        ),
    )
    config.steps = 1500
    config.log_every = 50
    config.eval_every = 500
    config.eval_batches = 8
    config.checkpoint_every = 250
    config.optimizer = dict(
        learning_rate=1.5e-3, warmup_steps=100, decay_start=750, decay_steps=750, ema_decay=0.99
    )
    config.sample_every = 0
    return config
