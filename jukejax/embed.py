"""Computes activations of a prior's layers for each track, for music analysis.

    python -m jukejax.embed --model=models/mine --input=~/music --output=embeddings
    python -m jukejax.embed --model=models/mine --input=data/audio --layers=0,18,36 \\
        --pooling=none --output=embeddings

Each track is encoded by the VQ-VAE, and its codes are passed through the prior of --level, window
by window. OUTPUT gets a file TRACK.npz for each: an array layer_K for every layer of --layers, and
begin_seconds and end_seconds of its rows. Shapes, names and the context of each row:
docs/embeddings.md. A run that was killed continues with the next track.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jukejax import cli
from jukejax.common.formatting import format_count
from jukejax.runtime.dtype_flag import define_dtype_flag
from jukejax.weights.shipped import HOUSE, define_model_flag, resolve_model

FLAGS = flags.FlagValues()

MODEL = define_model_flag(
    "model", "Model bundle, made by export or convert; default: house, the shipped one.", FLAGS
)
INPUT = flags.DEFINE_string(
    "input",
    None,
    "Folder of sound files or one file, tracks that sample made, or the output of prepare.",
    flag_values=FLAGS,
)
OUTPUT = flags.DEFINE_string("output", None, "Folder for the embeddings.", flag_values=FLAGS)
LAYERS = flags.DEFINE_list(
    "layers",
    ["middle"],
    "Layers by number, separated by commas: 0 is the input of the stack, K the output of its block "
    "K; or middle, last, all.",
    flag_values=FLAGS,
)
POOLING = flags.DEFINE_enum(
    "pooling",
    "mean",
    ["mean", "max", "last", "none"],
    "Pooling of a window's codes: their mean, maximum or last one, or none.",
    flag_values=FLAGS,
)
LEVEL = flags.DEFINE_integer(
    "level", None, "Level of the prior; default: the coarsest one.", flag_values=FLAGS
)
HOP_FRACTION = flags.DEFINE_float(
    "hop_fraction",
    1.0,
    "Share of a window that is new in the next one. Smaller: more context for each row, slower.",
    flag_values=FLAGS,
)
SECONDS = flags.DEFINE_float(
    "seconds", 0.0, "Seconds to embed, from the middle of each track; 0: all.", flag_values=FLAGS
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 1, "Windows that are computed at once.", flag_values=FLAGS
)
ARTIST = flags.DEFINE_string(
    "artist",
    None,
    "Artist label for the prior; default: unknown, so that the result depends on the sound only.",
    flag_values=FLAGS,
)
GENRE = flags.DEFINE_string(
    "genre", None, "Genre label for the prior; default: unknown.", flag_values=FLAGS
)
DTYPE = define_dtype_flag(FLAGS)
SPLIT = flags.DEFINE_enum(
    "split",
    "all",
    ["all", "train", "heldout"],
    "Which tracks of a prepared corpus.",
    flag_values=FLAGS,
)


def check_flags() -> tuple[str, str, str]:
    """Checks that flags are complete and in range; returns --model, --input and --output."""
    if INPUT.value is None or OUTPUT.value is None:
        raise ValueError("--input and --output are needed; see --help")
    for name in LAYERS.value or [""]:
        if name not in ("middle", "last", "all") and not re.fullmatch(r"\d+", name):
            raise ValueError(f"--layers={name!r} is no number; give numbers, middle, last or all")
    if not 0 < HOP_FRACTION.value <= 1:
        raise ValueError(f"--hop_fraction={HOP_FRACTION.value} must be above 0 and at most 1")
    if BATCH_SIZE.value < 1:
        raise ValueError(f"--batch_size={BATCH_SIZE.value} must be 1 or more")
    if SECONDS.value < 0:
        raise ValueError(f"--seconds={SECONDS.value} must be 0 or more")
    return MODEL.value or resolve_model(HOUSE), INPUT.value, OUTPUT.value


def main() -> int:
    """Writes the embeddings and prints their number and shape."""
    model, input_path, output = check_flags()
    from jukejax.evaluation import embedding, sound_sets

    sounds = sound_sets.open_set(input_path, "input", split=SPLIT.value)
    request = embedding.Request(
        model=model,
        layers=LAYERS.value,
        level=LEVEL.value,
        pooling=POOLING.value,
        hop_fraction=HOP_FRACTION.value,
        seconds=SECONDS.value,
        artist=ARTIST.value,
        genre=GENRE.value,
        dtype=DTYPE.value,
        batch_size=BATCH_SIZE.value,
    )
    job = embedding.EmbeddingJob(request, sounds, SPLIT.value)
    count = job.run(Path(output))
    noun = "layer" if len(job.layers) == 1 else "layers"
    print(
        f"{format_count(count, 'track')}, {noun} {', '.join(map(str, job.layers))} of level "
        f"{job.level}, "
        f"{POOLING.value} of windows of {job.window_seconds:.1f} s: {output}"
    )
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
