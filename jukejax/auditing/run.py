"""A run of `audit`, which resumes a killed one."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jukejax.auditing import pieces
from jukejax.auditing.auditor import Auditor
from jukejax.auditing.corpus import LEVEL, AudioCorpus, CodeCorpus, open_training
from jukejax.auditing.report import ReportWriter
from jukejax.common import files, output_locks
from jukejax.common.progress import Progress
from jukejax.data.corpus import Dataset

if TYPE_CHECKING:
    from jukejax.inference.codec import Codec

VERSION = 3  # version of the items of audit.json; a change invalidates stored items


@dataclass(frozen=True)
class AuditOptions:
    """Options of an audit.

    Attributes:
      input: a sound file, a folder of them, or a folder of `sample`.
      training: audio shards, code shards, or both.
      output: folder for report.html and audit.json.
      vqvae: workdir or bundle of the VQ-VAE of the code shards.
      cache: folder for the indexes; None: audit/ inside the training data.
    """

    input: str
    training: Sequence[str]
    output: Path
    vqvae: str | None = None
    cache: Path | None = None


def run_audit(options: AuditOptions) -> tuple[str, list[dict]]:
    """Audits every sound and writes the report; returns (overall verdict, items of audit.json).

    Raises:
      ValueError: the input or the training data cannot be used, or another audit is running.
    """
    sounds = pieces.find_sounds(options.input)
    auditor = open_auditor(options)
    for warning in auditor.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    with output_locks.lock_output(options.output, "audit") as folder:
        progress, items = Progress("auditing, pieces", len(sounds)), []
        for count, sound in enumerate(sounds, start=1):
            items.append(audit_once(auditor, sound, folder))
            progress.update(count, f"{sound.name}: {items[-1]['verdict']}")
        overall = ReportWriter(auditor, options.output).write(sounds, items)
        output_locks.clear_work(folder)
    return overall, items


def open_auditor(options: AuditOptions) -> Auditor:
    """Opens the corpus with its indexes, which are built if they are missing."""
    audio_shards, code_shards = open_training(options.training)
    if options.vqvae and code_shards is None:
        raise ValueError("--vqvae is for code shards; add them to --training, or remove it")
    codec = None
    if options.vqvae and code_shards:
        from jukejax.inference.codec_opening import open_codec  # imports JAX

        codec = open_codec(
            options.vqvae,
            code_shards.info.get("vqvae"),
            flag="--vqvae",
            codes=str(code_shards.folder),
        )
    return index_training(audio_shards, code_shards, codec, options.cache)


def index_training(
    audio_shards: Dataset | None,
    code_shards: Dataset | None,
    codec: "Codec | None",
    cache: Path | None,
) -> Auditor:
    """Opens the indexes of a corpus, which are built if they are missing.

    Args:
      codec: the VQ-VAE of the codes, if it is at hand.
      cache: folder for the indexes; None: audit/ inside each dataset.
    """
    recordings = codes = None
    if audio_shards:
        recordings = AudioCorpus(audio_shards, cache or audio_shards.folder / "audit")
    if code_shards:
        codebook = codec.codebook(LEVEL) if codec else None
        codes = CodeCorpus(code_shards, cache or code_shards.folder / "audit", codebook)
    return Auditor(recordings, codes, codec)


def audit_once(auditor: Auditor, sound: pieces.Sound, folder: Path) -> dict:
    """Audits a sound, or returns the result that an interrupted run stored in `folder`."""
    key = json.dumps([VERSION, auditor.key, sound.prompt_seconds])
    digest = hashlib.sha256(key.encode())
    for file in sound.files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    path = folder / f"{digest.hexdigest()[:32]}.json"
    if (stored := files.read_cached(path, files.read_json)) is not None:
        return stored | {"name": sound.name, "given": sound.given}
    item = auditor.audit_sound(sound)
    files.write_json(path, item)
    return item
