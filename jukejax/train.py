"""Trains the model of a config: the VQ-VAE, the top prior or an upsampler.

    python -m jukejax.train --config=configs/from_scratch.py:vqvae --workdir=runs/vqvae

Any value of the config can be changed on the command line: --config.steps=2000. A run that was
stopped or killed continues from its newest checkpoint when the same command is run again, and ends
with the same weights as an uninterrupted run. With several machines, run the same command on each,
with --coordinator, --num_processes and --process_id where the cluster does not set them.

    tensorboard --logdir WORKDIR/tensorboard    curves, audio and spectrograms during training
    python -m jukejax.train --config=... --dry_run    the needs of a run, before it is started
"""

from collections.abc import Sequence
from typing import ClassVar

from absl import flags

from jukejax import cli
from jukejax.runtime import platform_flags
from jukejax.training import config_keys

FLAGS = flags.FlagValues()

config_keys.define_flag(
    "config",
    "Config of the run: a file, or the name of one of configs/, such as house_prior, and perhaps a "
    "colon and a variant.",
    values=FLAGS,
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of this run, also in a bucket: checkpoints, metrics.jsonl, summary.json.",
    flag_values=FLAGS,
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of process 0, for a run of several processes.", flag_values=FLAGS
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", 0, "Processes of the run.", flag_values=FLAGS)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", -1, "Number of this process, from 0.", flag_values=FLAGS
)


class _DryRunParser(flags.ArgumentParser):
    """Parses `--dry_run`, `--dry_run=compile` and `--dry_run=measure`."""

    modes: ClassVar = {"true": "plan", "plan": "plan", "compile": "compile", "measure": "measure"}

    def parse(self, argument: str) -> str:
        if argument in ("", "false"):
            return ""
        if argument not in self.modes:
            raise ValueError("its value is compile or measure, or none")
        return self.modes[argument]


DRY_RUN = flags.DEFINE_flag(
    flags.Flag(
        _DryRunParser(),
        None,
        "dry_run",
        "",
        "Only print the needs of the run: parameters, memory, FLOPs, time, epochs. "
        "--dry_run=compile adds the compiler's figure of the memory, --dry_run=measure the time of "
        "a few training steps. Needs no --workdir, and no data.",
        boolean=True,
    ),
    flag_values=FLAGS,
)


def main() -> int:
    """Trains, or prints the plan of a run."""
    workdir, config = WORKDIR.value, config_keys.read_config(FLAGS, "config")
    if config is None or (workdir is None and not DRY_RUN.value):
        raise ValueError("--config and --workdir are needed; see --help")
    platform_flags.keep_memory()
    platform_flags.enlarge_thread_pool()
    platform_flags.set_defaults(*platform_flags.transformer_shape(config))
    from jukejax.runtime import distributed
    from jukejax.training import command

    if workdir is None or DRY_RUN.value:
        command.print_plan(config, DRY_RUN.value)
    else:
        place = distributed.Place(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
        command.train_model(config, workdir, place)
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv, copies_buckets=False)


if __name__ == "__main__":
    start()
