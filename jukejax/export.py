"""Exports training runs or a bundle as a model bundle, or in formats of other software.

    python -m jukejax.export --workdir=runs/vqvae,runs/prior,runs/up1,runs/up0 --output=BUNDLE
    python -m jukejax.export --workdir=BUNDLE --format=huggingface --output=FOLDER

Formats:

    bundle       weights (safetensors) and configs, which sample, evaluate and other commands load
    safetensors  one file a model, its config in the header
    openai       vqvae.pth.tar, prior_level_0, 1 and 2.pth.tar, for OpenAI's code
    huggingface  a folder for JukeboxModel.from_pretrained of Transformers 4.49
    stablehlo    functions that run on jax alone: encode, decode, and the steps of sampling

The files contain no code that is executed on loading. The weights of a training run are the
averaged (EMA) ones, or the latest with --weights=raw. A VQ-VAE is required; priors may be missing.
Formats other than bundle include an export.json: configs, label vocabulary, provenance, license.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jukejax import cli
from jukejax.common import output_locks
from jukejax.weights.shipped import resolve_model

FLAGS = flags.FlagValues()

WORKDIR = flags.DEFINE_list(
    "workdir",
    None,
    "Workdirs of train, separated by commas, or one bundle. A bundle beside workdirs gives the "
    "parts that they lack.",
    flag_values=FLAGS,
)
FORMAT = flags.DEFINE_enum(
    "format",
    "bundle",
    ["bundle", "safetensors", "openai", "huggingface", "stablehlo"],
    "Format of the output; see above.",
    flag_values=FLAGS,
)
OUTPUT = flags.DEFINE_string("output", None, "Folder to write.", flag_values=FLAGS)
WEIGHTS = flags.DEFINE_enum(
    "weights",
    "ema",
    ["ema", "raw"],
    "Of a training run: the moving average, or the latest. A VQ-VAE beside priors always has its "
    "moving average, with which their codes were made.",
    flag_values=FLAGS,
)


class _CheckpointParser(flags.ArgumentParser):
    """Parses `--checkpoint`: a step, or one of `choices`."""

    choices = ("latest", "best", "sound")

    def parse(self, argument: str) -> str:
        if argument == "newest":  # the former name of latest
            return "latest"
        if argument in self.choices:
            return argument
        if argument.isascii() and argument.isdecimal():
            return str(int(argument))
        raise ValueError(f"its value is a step such as 33000, or one of {', '.join(self.choices)}")


CHECKPOINT = flags.DEFINE(
    _CheckpointParser(),
    "checkpoint",
    "latest",
    "Checkpoint of the runs: latest, best, sound, or a step such as 33000. best: of a prior the "
    "one with the lowest held-out loss of all evaluations of the run, for a run that began to "
    "memorize its tracks. sound: of a run that diverged the latest one before that. A step is that "
    "of the priors; the VQ-VAE beside them is its latest.",
    flag_values=FLAGS,
)
LICENSE = flags.DEFINE_string(
    "license",
    None,
    "License of the weights; without it that of the bundle, or unspecified.",
    flag_values=FLAGS,
)
RECIPE = flags.DEFINE_string(
    "recipe",
    None,
    "How the model was made (corpus, commands, hours), recorded in model.json.",
    flag_values=FLAGS,
)
SAMPLING = flags.DEFINE_string(
    "sampling",
    None,
    "JSON file with the settings that sample takes by default with this model, such as "
    '{"temperature": {"level_2": 1.1, "level_1": 0.9}, "schedule": "parallel"}; without it those '
    "of a bundle among --workdir.",
    flag_values=FLAGS,
)
SECONDS = flags.DEFINE_float(
    "seconds",
    6.0,
    "For stablehlo: seconds of audio for one call of encode or decode.",
    lower_bound=0.0,
    flag_values=FLAGS,
)
BATCH = flags.DEFINE_integer(
    "batch", 1, "For stablehlo: items in a call.", lower_bound=1, flag_values=FLAGS
)
DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "float16", "bfloat16"],
    "Float type of the parameters in a bundle or in safetensors; for stablehlo: of the priors' "
    "weights and arithmetic. A VQ-VAE in another type gives other codes: export it alone first, "
    "encode with that bundle, and name it beside the priors in --workdir.",
    flag_values=FLAGS,
)
ADAPTERS = flags.DEFINE_boolean(
    "adapters",
    False,
    "Of a run with adapters (config.lora), write these alone, with the path and the hash of their "
    "base, in a bundle; without it they are merged with their base.",
    flag_values=FLAGS,
)


def main() -> int:
    """Exports the models, and prints their names."""
    if not WORKDIR.value or OUTPUT.value is None:
        raise ValueError("--workdir and --output are needed; see --help")
    from jukejax.weights.export_inputs import describe_facts
    from jukejax.weights.export_options import ExportOptions
    from jukejax.weights.exporting import export_model

    options = ExportOptions(
        inputs=[resolve_model(workdir) for workdir in WORKDIR.value],
        output=Path(OUTPUT.value),
        format=FORMAT.value or "",
        raw=WEIGHTS.value == "raw",
        checkpoint=CHECKPOINT.value or "",
        license=LICENSE.value,
        recipe=RECIPE.value,
        sampling=SAMPLING.value,
        seconds=SECONDS.value or 0.0,
        batch=BATCH.value or 1,
        dtype=DTYPE.value or "",
        adapters=bool(ADAPTERS.value),
    )
    if options.adapters and options.format != "bundle":
        raise ValueError(f"--adapters writes a bundle; remove --format={options.format}")
    with output_locks.lock_file(options.output / ".lock", options.output, "export"):
        parts = export_model(options)
    for name, facts in parts.items():
        if facts:
            print(f"{name}: {describe_facts(facts)}")
    print(f"{FORMAT.value} with {', '.join(parts)}: {OUTPUT.value}")
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
