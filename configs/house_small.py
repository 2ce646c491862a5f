"""Four models of the embedded corpus at length, at a size for two cores.

launch/train_house_small.sh runs every step from the corpus to the bundle; its stages are

    python -m jukejax.train --config=configs/house_small.py:vqvae --workdir=runs/house/vqvae

and the same with decoder, prior, upsampler1 and upsampler0.

The VQ-VAE works at the rate of the codes (`models.frames`), which a CPU trains 3.5 times as fast as
OpenAI's, and its top level describes spectra (docs/house.md). A block of the priors' attention is
one frame of codes or four, so that a layer sees the frames before, another the same band in earlier
frames. The top prior attends to everything before in every fourth layer (attention pattern 9), so
that it can repeat the bar before, whatever its length in codes.
"""

import itertools

from ml_collections import ConfigDict

STAGES = ("vqvae", "prior", "upsampler1", "upsampler0", "decoder", "tune")


def base(folder: str, batch_size: int) -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.init_from = ""
    config.dtype = "float32"
    config.keep = 2
    config.eval_batches = 8
    config.mesh = dict(data=-1, fsdp=1, tensor=1)
    config.sample_every = 0
    config.data = dict(folder=folder, batch_size=batch_size)
    return config


def schedule(config: ConfigDict, steps: int, learning_rate: float) -> None:
    """Sets the optimizer: warm-up, then a linear decay to zero from 40 % of the steps on."""
    config.steps = steps
    config.log_every = 20
    config.eval_every = max(steps // 4, 1)
    config.checkpoint_every = max(steps // 16, 1)
    config.optimizer = dict(
        learning_rate=learning_rate,
        warmup_steps=min(100, steps // 10),
        decay_start=2 * steps // 5,
        decay_steps=steps - 2 * steps // 5,
        weight_decay=0.01,
        ema_decay=0.99,
    )


# What the codes of a frame describe, in Hz (`ops.turns`). The codes of the top level tell pitches
# and strokes without phase: chords from 160 Hz on, basses below, drums twice as often as pitches.
WAVES = [
    tuple(("waveform", low, high) for low, high in itertools.pairwise(edges))
    for edges in ((0, 600, 2500, 6000, 22050), (0, 200, 900, 4000, 22050))
]
HIGH, LOW = ("strokes", 900, 16000), ("strokes", 0, 900)
NOTES = (("tones", 0, 160), ("tones", 160, 400), ("tones", 400, 950), ("tones", 950, 2300))
TURNS = (*WAVES, (HIGH, LOW, NOTES[0], NOTES[1], HIGH, LOW, NOTES[2], NOTES[3]))


def vqvae() -> ConfigDict:
    """Hops 8, 32 and 128; codes take turns, each describes one band."""
    config = base("data/house/audio", batch_size=16)
    config.task = "vqvae"
    config.data.window = 16_384
    config.model = dict(
        emb_dim=64,
        codebook_size=2048,
        dilation_growth_rate=3,
        dilation_cycle=3,
        res_scale=True,
        restart_threshold=0.3,
        frames=dict(
            span=4,
            widths=(128, 192, 128),
            depths=(3, 4, 4),
            turns=TURNS,
            synthesis=True,
            matching_rounds=4,
            matching_contrast=2.0,
        ),
    )
    # Log magnitudes keep chords that are 20 dB below the kick.
    config.loss = dict(recons="l2", multispectral=1.0, log_spectral=0.2, commit=0.5)
    schedule(config, steps=900, learning_rate=2e-3)
    config.optimizer.weight_decay = 0.0
    return config


def decoder() -> ConfigDict:
    """The decoder of level 0, trained on alone: codes, and what was trained on them, stay valid.

    Quiet moments count more than before: the VQ-VAE fills them with noise, 3 to 8 dB too loud.
    """
    config = vqvae()
    config.init_from = "runs/house/codec"  # of launch/train_house_small.sh
    config.decoders_only = 0
    config.loss.log_spectral = 1.0
    schedule(config, steps=600, learning_rate=1e-3)
    config.optimizer.weight_decay = 0.0
    return config


def look_back(level: int, frames: int = 2) -> tuple[int, ...]:
    """Returns the distances of the same turn in the last frames."""
    return tuple(len(TURNS[level]) * (1 + i) for i in range(frames))


def prior() -> ConfigDict:
    """The top prior: artist, genre, timing, tempo, key, position in the bar, section, turn."""
    config = base("data/house/codes", batch_size=2)
    config.task = "prior"
    config.model = dict(
        level=2,
        transformer=dict(
            emb_dim=256,
            num_layers=8,
            num_heads=4,
            seq_len=4096,
            num_blocks=4096 // len(TURNS[2]),
            attn_order=9,
            attn_ratio=0.5,
        ),
        lookback=look_back(level=2),
        context_dropout=0.5,
        labels=dict(
            max_genres=1,
            min_duration=1.0,
            timing_bins=32,
            tempo_bins=64,
            keys=24,
            bar_bins=192,
            phrase_bars=8,
            num_sections=8,
            style_everywhere=True,
            turns=len(TURNS[2]),
            dropout=0.1,
            dropout_all=0.1,
        ),
    )
    schedule(config, steps=7800, learning_rate=2e-3)
    return config


def upsampler(level: int) -> ConfigDict:
    """Returns an upsampler: codes of the level above, a reference, artist, genre and turn."""
    config = base("data/house/codes", batch_size=4)
    config.task = "prior"
    width = 192 if level == 1 else 128
    config.model = dict(
        level=level,
        # Chosen by the distance to the corpus in mel statistics (docs/house.md).
        turn_temperatures=(0.6, 0.7, 1.0, 1.0) if level == 1 else (0.8, 0.7, 1.05, 1.05),
        transformer=dict(
            emb_dim=width,
            num_layers=6,
            num_heads=3 if level == 1 else 2,
            seq_len=2048,
            num_blocks=2048 // (4 * len(TURNS[level])),
            attn_order=9 if level == 1 else 2,
            attn_ratio=0.5,
        ),
        lookback=look_back(level, frames=3),
        labels=dict(max_genres=1, turns=len(TURNS[level])),
        # The reference tells level 1 the phases, which level 2 does not have.
        upper=dict(
            downs=2,
            stride=2,
            width=width // 2,
            depth=6,
            dilation_cycle=3,
            res_scale=True,
            reference=True,
        ),
    )
    schedule(config, steps=12_000 if level == 1 else 6_100, learning_rate=2e-3)
    return config


def tune() -> ConfigDict:
    """The top prior, tuned on a few records (launch/tune.sh)."""
    config = prior()
    config.init_from = "runs/house/model"  # of launch/train_house_small.sh
    config.model.context_dropout = 0.0
    schedule(config, steps=60, learning_rate=5e-4)
    config.log_every = 10
    config.eval_every = 0
    config.checkpoint_every = 20
    return config


def get_config(arg: str = "prior") -> ConfigDict:
    """Returns the config of a stage, one of `STAGES`."""
    if arg == "vqvae":
        return vqvae()
    if arg == "decoder":
        return decoder()
    if arg == "prior":
        return prior()
    if arg == "tune":
        return tune()
    if arg in STAGES:
        return upsampler(level=int(arg[-1]))
    raise ValueError(
        f"configs/house_small.py has no variant {arg!r}; take one of {', '.join(STAGES)}"
    )
