"""What a prior hears in music: activations of its layers for each track, to analyse music with.

    python -m jukejax.embed --model=models/mine --input=~/music --output=embeddings
    python -m jukejax.embed --model=models/mine --input=data/audio --layers=0,18,36 \\
        --pooling=none --output=embeddings

Each track is encoded by the VQ-VAE and read by the prior of --level, window by window. OUTPUT gets
a file TRACK.npz for each: an array layer_K for every layer asked for, and begin_seconds and
end_seconds of its rows. Shapes, names and what a row has heard: docs/embeddings.md. A run that was
killed goes on with the next track.
"""

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from jukejax import cli

FLAGS = flags.FlagValues()

MODEL = flags.DEFINE_string(
    "model", None, "Model bundle, made by export or convert.", flag_values=FLAGS
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
    "Layers by number, separated by commas: 0 is what the stack reads, K the output of its block "
    "K; or middle, last, all.",
    flag_values=FLAGS,
)
POOLING = flags.DEFINE_enum(
    "pooling",
    "mean",
    ["mean", "max", "last", "none"],
    "What becomes of a window's codes: their mean, maximum or last one, or each of them kept.",
    flag_values=FLAGS,
)
LEVEL = flags.DEFINE_integer(
    "level", None, "Level of the prior; default: the coarsest there is.", flag_values=FLAGS
)
HOP_FRACTION = flags.DEFINE_float(
    "hop_fraction",
    1.0,
    "Share of a window that is new in the next one. Smaller: each row has heard more, slower.",
    flag_values=FLAGS,
)
SECONDS = flags.DEFINE_float(
    "seconds", 0.0, "So many seconds from each track's middle; 0: all.", flag_values=FLAGS
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 1, "Windows that the prior reads at once.", flag_values=FLAGS
)
ARTIST = flags.DEFINE_string(
    "artist",
    None,
    "Artist that the prior is told; default: unknown, so that only sound speaks.",
    flag_values=FLAGS,
)
GENRE = flags.DEFINE_string(
    "genre", None, "Genre that the prior is told; default: unknown.", flag_values=FLAGS
)
DTYPE = flags.DEFINE_string(
    "dtype",
    None,
    "float32, bfloat16 or float16; default: bfloat16 on GPU and TPU, else float32.",
    flag_values=FLAGS,
)
SPLIT = flags.DEFINE_enum(
    "split",
    "all",
    ["all", "train", "heldout"],
    "Which tracks of a prepared corpus.",
    flag_values=FLAGS,
)


def layers(depth: int, middle: int) -> list[int]:
    """The numbers that --layers asks for, of a prior with so many blocks."""
    named = {"middle": [middle], "last": [depth], "all": range(depth + 1)}
    asked = [named[word] if word in named else [int(word)] for word in LAYERS.value]
    return sorted({number for numbers in asked for number in numbers})


def file_of(name: str) -> str:
    """A file name for a track: readable, and never the same for two tracks."""
    words = re.sub(r"[^\w.-]+", "_", name).strip("._")[:80] or "track"
    return f"{words}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.npz"


def check_flags() -> None:
    if MODEL.value is None or INPUT.value is None or OUTPUT.value is None:
        raise ValueError("--model, --input and --output are needed; see --help")
    for word in LAYERS.value or [""]:
        if word not in ("middle", "last", "all") and not re.fullmatch(r"\d+", word):
            raise ValueError(f"--layers={word!r} is no number; give numbers, middle, last or all")
    if not 0 < HOP_FRACTION.value <= 1:
        raise ValueError(f"--hop_fraction={HOP_FRACTION.value} must be above 0 and at most 1")
    if BATCH_SIZE.value < 1:
        raise ValueError(f"--batch_size={BATCH_SIZE.value} must be 1 or more")
    if SECONDS.value < 0:
        raise ValueError(f"--seconds={SECONDS.value} must be 0 or more")


def settings(model, level: int, numbers: list[int]) -> dict:
    """What the embeddings depend on; a folder belongs to one such set."""
    asked = (POOLING, HOP_FRACTION, SECONDS, ARTIST, GENRE, DTYPE)
    return {
        "model": model.hash,
        "level": level,
        "layers": numbers,
        "input": str(Path(INPUT.value).resolve()),
        "split": SPLIT.value,
        **{flag.name: flag.value for flag in asked},
    }


def embed(extractor, model, entry, numbers: list[int]) -> bytes:
    """The content of a track's file."""
    from jukejax.evaluation.sound_sets import middle

    codes = model.codec.encode(middle(entry.read(), SECONDS.value))
    found = extractor.extract_activations(
        codes,
        layers=numbers,
        pooling=POOLING.value,
        hop_fraction=HOP_FRACTION.value,
        batch_size=BATCH_SIZE.value,
        artist=ARTIST.value,
        genre=GENRE.value,
    )
    seconds = model.hops[extractor.level] / model.sample_rate
    arrays = {f"layer_{layer}": found.values[:, i] for i, layer in enumerate(numbers)}
    buffer = io.BytesIO()
    np.savez(
        buffer, begin_seconds=found.begins * seconds, end_seconds=found.ends * seconds, **arrays
    )
    return buffer.getvalue()


def main() -> int:
    check_flags()
    from jukejax.common import files
    from jukejax.common.progress import Progress
    from jukejax.evaluation import sound_sets
    from jukejax.evaluation.model_figures import check_rate
    from jukejax.inference import activations
    from jukejax.inference.extractor import ActivationExtractor
    from jukejax.inference.loaded_model import Model
    from jukejax.sampling.folder import claim

    sounds = sound_sets.open_set(INPUT.value, "input", split=SPLIT.value)
    model = Model(MODEL.value, DTYPE.value)
    check_rate(model.codec)
    extractor = ActivationExtractor(model, LEVEL.value)
    numbers = layers(extractor.config.transformer.num_layers, extractor.middle_layer)
    activations.check_layers(extractor.config, numbers)
    output = Path(OUTPUT.value)
    with files.lock_output(output, "embed"):
        claim(output, settings(model, extractor.level, numbers))
        names = {entry.name: file_of(entry.name) for entry in sounds.entries}
        missing = [entry for entry in sounds.entries if not (output / names[entry.name]).exists()]
        total = len(sounds.entries)
        progress = Progress("embedding, tracks", total, done=total - len(missing))
        failed = []
        for done, entry in enumerate(missing, start=total - len(missing) + 1):
            try:
                content = embed(extractor, model, entry, numbers)
            except ValueError as error:
                failed.append(f"{entry.name}: {error}")
                names.pop(entry.name)
            else:
                files.write_bytes(output / names[entry.name], content)
            progress.update(done, entry.name)
        files.write_json(output / "tracks.json", names)
    if failed:
        raise ValueError(
            f"{len(failed)} of {total} track(s) could not be embedded, the others are done in "
            f"{output}; the first: {failed[0]}"
        )
    print(
        f"{total} track(s), layer(s) {', '.join(map(str, numbers))} of level {extractor.level}, "
        f"{POOLING.value} of windows of {extractor.window_seconds:.1f} s: {output}"
    )
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
