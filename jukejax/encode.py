"""Encodes audio shards to code shards of every level with a trained VQ-VAE.

    python -m jukejax.encode --vqvae=runs/vqvae --input=data/audio --output=data/codes

Priors train on codes only, so that each VQ-VAE encodes the corpus once. The codes depend on the
position of the grid of top-level codes (128 samples by default): with --offsets=4 each training
track is stored four times, on four grids, and a prior is trained on four versions of it. A run that
was killed continues with the next track.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jukejax import cli
from jukejax.common.formatting import format_count
from jukejax.data import corpus
from jukejax.runtime import platform_flags
from jukejax.weights.shipped import define_model_flag

FLAGS = flags.FlagValues()

VQVAE = define_model_flag(
    "vqvae", "Workdir of a VQ-VAE run, a bundle, or house for the shipped model.", FLAGS
)
INPUT = flags.DEFINE_string(
    "input", None, "Audio shards: the output of prepare.", flag_values=FLAGS
)
OUTPUT = flags.DEFINE_string("output", None, "Folder for the code shards.", flag_values=FLAGS)
OFFSETS = flags.DEFINE_integer(
    "offsets",
    1,
    "Number of copies of each training track: copy k without its first k / offsets of the samples "
    "of a top-level code (128 by default). Tracks held out are stored once.",
    flag_values=FLAGS,
)
REFERENCES = flags.DEFINE_list(
    "references",
    [],
    "Levels, such as 0,1, whose upsamplers have model.upper.reference: also stores the codes that "
    "this level has for the sound of the level above.",
    flag_values=FLAGS,
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    0,
    "Windows of 12 s to encode at once; 0 means 1 on a CPU and 8 for each accelerator.",
    flag_values=FLAGS,
)


def main() -> int:
    """Encodes the dataset and prints its size and the speed."""
    if VQVAE.value is None or INPUT.value is None or OUTPUT.value is None:
        raise ValueError("--vqvae, --input and --output are needed; see --help")
    if BATCH_SIZE.value < 0:
        raise ValueError(f"--batch_size={BATCH_SIZE.value} must be 1 or more, or 0")
    platform_flags.keep_memory()
    dataset = corpus.open_dataset(INPUT.value)
    if dataset.kind != "audio":
        raise ValueError(
            f"--input={INPUT.value} holds {dataset.kind}, not audio; run prepare first"
        )
    from jukejax.inference.codec import Codec, default_batch_size
    from jukejax.inference.encoding import encode_dataset

    codec, output = Codec.load(VQVAE.value), Path(OUTPUT.value)
    if not 1 <= OFFSETS.value <= codec.hop:
        raise ValueError(f"--offsets={OFFSETS.value} must lie in 1 to {codec.hop}")
    references = parse_references(REFERENCES.value, codec.config.levels)
    batch_size = BATCH_SIZE.value or default_batch_size()
    summary = encode_dataset(
        dataset,
        codec,
        output,
        offsets=OFFSETS.value,
        batch_size=batch_size,
        references=references,
    )
    if summary is None:
        print(f"{output} holds these codes already")
        return 0
    print(
        f"{format_count(summary.tracks, 'track')}, {summary.minutes:.1f} minutes, "
        f"{summary.speed:.1f} x real time: {output}"
    )
    return 0


def parse_references(values: Sequence[str], num_levels: int) -> tuple[int, ...]:
    """Parses the levels of --references, ascending.

    Raises:
      ValueError: one is no level with another above it.
    """
    known = {str(level): level for level in range(num_levels - 1)}
    for value in values:
        if value not in known:
            raise ValueError(
                f"--references={','.join(values)}: {value} is no level below another one; there "
                f"are {', '.join(known) or 'none'}"
            )
    return tuple(sorted({known[value] for value in values}))


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
