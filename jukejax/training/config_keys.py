"""The keys of a training config, in a file of configs/ or on the command line.

Keys that a file omits can be set by --config.KEY=value. Keys inside `model`, `data`, `optimizer`
and so on are the fields of dataclasses.
"""

import difflib
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from jukejax.training import config_values, following_steps
from jukejax.training.config_files import ConfigFileParser
from jukejax.weights.shipped import resolve_model

KEYS = {
    "task": "the model to train: vqvae or prior",
    "seed": "seed of the weights, the order of the data, and all noise",
    "dtype": "compute type: float32, bfloat16 or float16",
    "model": "VQVAEConfig or PriorConfig",
    "loss": "LossConfig of a VQ-VAE",
    "data": "folder of shards, or several as FOLDER:WEIGHT,FOLDER:WEIGHT; batch_size, window ...",
    "init_from": "bundle or workdir whose weights the run starts from; house: the shipped model",
    "lora": "LoraConfig: train low-rank adapters of a prior in init_from, not all of its weights",
    "decoders_only": "levels of a VQ-VAE in init_from whose decoders are trained; all else is "
    "fixed, so that its codes stay valid",
    "steps": "updates of the run",
    "optimizer": "OptimizerConfig",
    "schedule": "ScheduleConfig: when the learning rate goes to zero, when a run ends early",
    "loss_scale": "LossScaleConfig, for float16",
    "accumulate": "microbatches of a batch (gradient accumulation)",
    "max_skipped": "skipped steps in a row (loss or gradient not finite, or a gradient above "
    "optimizer.skip_norm) at which a run stops",
    "mesh": "MeshConfig: devices along data, fsdp, tensor, and slices",
    "log_every": "steps between lines of metrics.jsonl",
    "eval_every": "steps between held-out evaluations; 0: only at the end",
    "eval_batches": "batches of such an evaluation; the last evaluation uses all",
    "sample_every": "steps between audio and spectrograms in TensorBoard; 0: never; default: "
    "eval_every",
    "vqvae": "the VQ-VAE of a prior's codes (workdir or bundle), which decodes its samples",
    "audit": "true: measure how much of a prior's samples matches its training tracks",
    "checkpoint_every": "steps between checkpoints",
    "keep": "newest checkpoints to keep",
    "checkpoint_at": "a step, or several, whose checkpoints are kept for good: 33000,53000,90000",
    "keep_every": "interval of steps whose checkpoints are kept for good; 0: none",
    "keep_best": "checkpoints to keep with the lowest held-out bits per code, or, of a VQ-VAE, "
    "multispectral distance",
    "tensorboard": "false: no WORKDIR/tensorboard",
    "profile": "FIRST:LAST, steps to trace with JAX's profiler to WORKDIR/profile",
    "wandb": "project of Weights & Biases to log to",
    "peak_flops": "FLOP/s of one device, for the MFU of devices that are not tabulated",
}
_GROUPS = ("schedule", "loss_scale", "mesh", "loss", "lora")  # optional dictionaries of a config


def define_flag(name: str, help_text: str, values: flags.FlagValues) -> flags.FlagHolder:
    """Defines a --NAME flag for a config file, and --NAME.KEY flags for every key."""
    holder = config_flags.DEFINE_config_file(
        name,
        None,
        help_text,
        lock_config=False,
        accept_new_attributes=True,
        flag_values=values,
    )
    parser: Any = values[name].parser
    parser.parse = ConfigFileParser(groups=_GROUPS)
    return holder


def read_config(values: flags.FlagValues, name: str) -> ConfigDict | None:
    """Returns the config of a flag of `define_flag`; None if the flag was not given.

    If the flags change the steps, the file's schedule follows, unless they set it too.
    """
    flag: Any = values[name]
    if flag.value is None:
        return None
    overrides = config_flags.get_override_values(flag)
    if "steps" in overrides:
        following_steps.follow_steps(flag.value, flag.parser.parse.file_values, overrides)
    return flag.value


def check_config(config: ConfigDict) -> ConfigDict:
    """Checks the keys and numbers of a config, removes empty groups, resolves names of models.

    Raises:
      ValueError: an unknown key, named with its nearest known one, or a number out of range.
    """
    for key in config:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean config.{near[0]}?" if near else f"known: {', '.join(KEYS)}"
            raise ValueError(f"unknown key config.{key}; {hint}")
    config_values.check_values(config)
    for group in _GROUPS:
        if group in config and not len(config[group]):
            del config[group]
    for key in ("init_from", "vqvae"):
        if config.get(key):
            config[key] = resolve_model(config[key])
    return config
