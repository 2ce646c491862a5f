"""Did the model copy its training set? Generated music against the corpus it was trained on.

    python -m jukejax.audit --input=out --training=data/audio,data/codes --vqvae=runs/vqvae \\
        --output=runs/audit

Two independent ways. Recordings (--training names the audio shards of prepare): landmark
fingerprints find the same recording whatever its level, codec or offset, and waveforms confirm it.
Codes (--training names the code shards of encode): the longest runs of the same codes, and, with
--vqvae, the nearest fragments by the distance of codebook vectors; codes of a sound that has none
are made with it. Thresholds come from the corpus' own held-out tracks. OUTPUT/report.html shows
what was found side by side with its original, OUTPUT/audit.json says it second by second.

Exit code 0: nothing was copied; 3: something was. Indexes are kept beside the training data; a run
that was killed goes on with the next piece.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jukejax import cli
from jukejax.auditing import pieces as audit_input
from jukejax.auditing.corpus import AudioCorpus, CodeCorpus, open_training
from jukejax.auditing.run import VERSION, Audit
from jukejax.common import files
from jukejax.common.progress import Progress

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
    "What the model was trained on: audio shards of prepare, code shards of encode, or both, "
    "separated by a comma.",
    flag_values=FLAGS,
)
VQVAE = flags.DEFINE_string(
    "vqvae",
    None,
    "The VQ-VAE that made the code shards: workdir or bundle. With it, codes are also compared by "
    "how they sound, and sounds without codes get them.",
    flag_values=FLAGS,
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


def open_codec(path: str, codes):
    """The VQ-VAE of --vqvae, checked against the code shards."""
    from jukejax.inference.codec import Codec

    codec = Codec.load(path)
    if codec.hash != codes.info["vqvae"]["hash"]:
        raise ValueError(
            f"--vqvae={path} is not the VQ-VAE that made the codes of {codes.folder}; give that "
            "one, or leave --vqvae away"
        )
    return codec


def open_audit() -> Audit:
    """The corpus with its indexes, which are made where they are missing."""
    recordings, codes = open_training(TRAINING.value)
    if VQVAE.value and codes is None:
        raise ValueError("--vqvae is for code shards; add them to --training, or leave it away")
    codec = open_codec(VQVAE.value, codes) if VQVAE.value else None

    def cache(dataset) -> Path:
        return Path(CACHE.value) if CACHE.value else dataset.folder / "audit"

    return Audit(
        AudioCorpus(recordings, cache(recordings)) if recordings else None,
        CodeCorpus(codes, cache(codes), codec.codebook(2) if codec else None) if codes else None,
        codec,
    )


def one(audit: Audit, sound: audit_input.Sound, folder: Path) -> dict:
    """The audit of a sound, kept in `folder`."""
    digest = hashlib.sha256(json.dumps([VERSION, audit.key, sound.prompt_seconds]).encode())
    for file in sound.files:
        digest.update(file.read_bytes())
    path = folder / f"{digest.hexdigest()[:32]}.json"
    if path.exists():
        return json.loads(path.read_text()) | {"name": sound.name, "given": sound.given}
    found = audit(sound)
    files.write_bytes(path, json.dumps(found).encode())
    return found


def main() -> int:
    if INPUT.value is None or not TRAINING.value or OUTPUT.value is None:
        raise ValueError("--input, --training and --output are needed; see --help")
    sounds, output = audit_input.find(INPUT.value), Path(OUTPUT.value)
    audit = open_audit()
    for warning in audit.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    with files.lock_output(output, "audit") as folder:
        progress, items = Progress("auditing, pieces", len(sounds)), []
        for done, sound in enumerate(sounds, start=1):
            items.append(one(audit, sound, folder))
            progress.update(done, f"{sound.name}: {items[-1]['verdict']}")
        verdict = audit.write(output, sounds, items)
        files.clear_work(folder)
    counts = Counter(item["verdict"] for item in items)
    told = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    print(f"{len(items)} pieces: {told}")
    print(f"Look and listen: {(output / 'report.html').resolve().as_uri()}")
    return 3 if verdict == "copied" else 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
