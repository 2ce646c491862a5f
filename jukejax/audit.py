"""Searches generated music for copies of the corpus on which the model was trained.

    python -m jukejax.audit --input=out --training=data/audio,data/codes --vqvae=runs/vqvae \\
        --output=runs/audit

There are two independent methods. Recordings (--training names the audio shards of prepare):
landmark fingerprints find the same recording at any level, codec or offset, and waveforms confirm
it. Codes (--training names the code shards of encode): the longest runs of the same codes, and,
with --vqvae, the nearest fragments by the distance of codebook vectors; sounds without codes are
encoded. Thresholds are derived from the held-out tracks of the corpus. OUTPUT/report.html has a
player for each passage and its original, OUTPUT/audit.json the evidence for each second.

Exit code 0: nothing was copied; 3: something was. Indexes are stored beside the training data; a
run that was killed continues with the next piece.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jukejax import cli
from jukejax.auditing.run import AuditOptions, run_audit
from jukejax.common.formatting import format_count
from jukejax.weights.shipped import define_model_flag

COPIED = 3  # exit code

FLAGS = flags.FlagValues()

INPUT = flags.DEFINE_string(
    "input",
    None,
    "Generated music: a sound file, a folder of them, or a folder that sample wrote.",
    flag_values=FLAGS,
)
TRAINING = flags.DEFINE_list(
    "training",
    [],
    "Training data of the model: audio shards of prepare, code shards of encode, or both, "
    "separated by a comma.",
    flag_values=FLAGS,
)
VQVAE = define_model_flag(
    "vqvae",
    "The VQ-VAE that made the code shards: workdir, bundle, or house for the shipped model. With "
    "it, codes are also compared by their codebook vectors, and sounds without codes are encoded.",
    FLAGS,
)
OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for report.html and audit.json.", flag_values=FLAGS
)
CACHE = flags.DEFINE_string(
    "cache",
    None,
    "Folder for the indexes of the training data; default: audit/ inside of it.",
    flag_values=FLAGS,
)


def main() -> int:
    """Audits the sounds, and prints their verdicts and the path of the report."""
    if INPUT.value is None or not TRAINING.value or OUTPUT.value is None:
        raise ValueError("--input, --training and --output are needed; see --help")
    output = Path(OUTPUT.value)
    overall, items = run_audit(
        AuditOptions(
            input=INPUT.value,
            training=TRAINING.value,
            output=output,
            vqvae=VQVAE.value or None,
            cache=Path(CACHE.value) if CACHE.value else None,
        )
    )
    counts = Counter(item["verdict"] for item in items)
    summary = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    print(f"{format_count(len(items), 'piece')}: {summary}")
    print(f"Look and listen: {(output / 'report.html').resolve().as_uri()}")
    return COPIED if overall == "copied" else 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
