"""Measures tracks: sound, rhythm and similarity to a reference, each with its confidence interval.

    python -m jukejax.evaluate --input=samples --reference=data/audio --output=report
    python -m jukejax.evaluate --input=samples --reference=data/audio --model=models/mine \\
        --codes=data/codes --output=report

--input and --reference are folders of sound files, of tracks that sample made, or the output of
prepare (of which --split is taken). Both are measured in the same way, each figure with its 95 %
interval. The floor is the difference between random parts of the reference, which chance alone
explains. With --model also the errors of its VQ-VAE, the use of its codes, the audibility of joins
between windows, and distances in the activations of its prior; with --codes the bits per code of
its priors on held-out music. OUTPUT gets index.html with pictures, and evaluate.json with every
figure. Definitions of all figures: docs/evaluation.md.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from jukejax import cli
from jukejax.common import output_locks
from jukejax.weights.shipped import HOUSE, define_model_flag, resolve_model

if TYPE_CHECKING:
    from jukejax.evaluation.run import Request
    from jukejax.evaluation.sound_sets import SoundSet

FLAGS = flags.FlagValues()

INPUT = flags.DEFINE_string(
    "input", None, "Sounds to measure: a folder, or one file.", flag_values=FLAGS
)
REFERENCE = flags.DEFINE_string(
    "reference",
    None,
    "Sounds to compare with; default: no comparison.",
    flag_values=FLAGS,
)
OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for index.html, pictures and evaluate.json.", flag_values=FLAGS
)
MODEL = define_model_flag(
    "model",
    "Model bundle, made by export or convert, whose codes and bits are measured; with --codes the "
    "default is the shipped model, house.",
    FLAGS,
)
CODES = flags.DEFINE_string(
    "codes",
    None,
    "Code shards of the model's own VQ-VAE (of encode), for held-out bits per code.",
    flag_values=FLAGS,
)
MUSICNN = flags.DEFINE_string(
    "musicnn",
    None,
    "The wheel musicnn-0.1.0 of PyPI (pip download --no-deps musicnn==0.1.0): compares the sets by "
    "its features too. Not the published FAD.",
    flag_values=FLAGS,
)
PAIRED = flags.DEFINE_bool(
    "paired",
    False,
    "--input holds processed versions of --reference under the same names: measures their errors.",
    flag_values=FLAGS,
)
SPLIT = flags.DEFINE_enum(
    "split",
    "heldout",
    ["heldout", "train", "all"],
    "Which tracks of a prepared corpus.",
    flag_values=FLAGS,
)
MAX_TRACKS = flags.DEFINE_integer(
    "max_tracks", 0, "Largest number of tracks of each set; 0: all.", flag_values=FLAGS
)
SECONDS = flags.DEFINE_float(
    "seconds", 0.0, "Seconds to measure, from the middle of each track; 0: all.", flag_values=FLAGS
)
MODEL_SECONDS = flags.DEFINE_float(
    "model_seconds",
    30.0,
    "Seconds of each track that go through the model; 0: all.",
    flag_values=FLAGS,
)
MAX_WINDOWS = flags.DEFINE_integer(
    "max_windows",
    64,
    "Windows of held-out codes for each level, spread over all; 0: all.",
    flag_values=FLAGS,
)
DRAWS = flags.DEFINE_integer(
    "bootstrap", 1000, "Bootstrap resamples of each interval.", flag_values=FLAGS
)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the resamples.", flag_values=FLAGS)


def check_flags() -> tuple[str, str]:
    """Checks that flags are complete, in range and fit each other; returns --input and --output."""
    if INPUT.value is None or OUTPUT.value is None:
        raise ValueError("--input and --output are needed; see --help")
    for amount in (MAX_TRACKS, SECONDS, MODEL_SECONDS, MAX_WINDOWS, SEED):
        if amount.value < 0:
            raise ValueError(f"--{amount.name}={amount.value} must be 0 or more")
    if DRAWS.value < 1:
        raise ValueError(f"--bootstrap={DRAWS.value} must be 1 or more")
    for needs, flag in ((REFERENCE, MUSICNN), (REFERENCE, PAIRED)):
        if flag.value and not needs.value:
            raise ValueError(f"--{flag.name} needs --{needs.name}")
    return INPUT.value, OUTPUT.value


def main() -> int:
    """Measures, prints the table and writes the report."""
    input_path, output = check_flags()
    from jukejax.evaluation import page, rows
    from jukejax.evaluation.run import Request, Settings, evaluate

    inputs = open_sounds(input_path, "input")
    request = Request(
        inputs,
        open_sounds(REFERENCE.value, "reference") if REFERENCE.value else None,
        model=MODEL.value or (resolve_model(HOUSE) if CODES.value else None),
        codes=CODES.value,
        musicnn=MUSICNN.value,
        paired=PAIRED.value,
    )
    settings = Settings(
        seconds=SECONDS.value,
        model_seconds=MODEL_SECONDS.value,
        max_windows=MAX_WINDOWS.value,
        draws=DRAWS.value,
        seed=SEED.value,
    )
    with output_locks.lock_file(Path(output) / ".lock", Path(output), "evaluate"):
        evaluation = evaluate(request, settings)
        for line in rows.format_table(evaluation.rows):
            print(line)
        for note in evaluation.notes:
            print(f"note: {note}", file=sys.stderr)
        index = page.write_evaluation(output, evaluation, describe_request(request))
    print(f"Look: {index.resolve().as_uri()}")
    return 0


def open_sounds(path: str, flag: str) -> "SoundSet":
    """Opens the sounds of --input or --reference."""
    from jukejax.evaluation import sound_sets

    return sound_sets.open_set(path, flag, limit=MAX_TRACKS.value, split=SPLIT.value)


def describe_request(request: "Request") -> dict:
    """Returns the sets and the flags, for the JSON and the page."""
    recorded: list[flags.FlagHolder] = [INPUT, REFERENCE, MODEL, CODES, MUSICNN, PAIRED, SPLIT]
    recorded += [MAX_TRACKS, SECONDS, MODEL_SECONDS, MAX_WINDOWS, DRAWS, SEED]
    sets = {
        name: {"path": str(sounds.path), "kind": sounds.kind, "tracks": len(sounds.entries)}
        for name, sounds in (("input", request.inputs), ("reference", request.references))
        if sounds
    }
    return sets | {"settings": {flag.name: flag.value for flag in recorded}}


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
