"""Audio shards to code shards of all three levels, with a trained VQ-VAE.

    python -m jukejax.encode --vqvae=runs/vqvae --input=data/audio --output=data/codes

Priors train on codes only, so this is done once for each VQ-VAE. The codes depend on where in the
music the grid of 128 samples lies: with --offsets=4 each training track is stored four times, on
four grids, and a prior sees four versions of it. A run that was killed goes on with the next track.
"""

import dataclasses
import hashlib
import json
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from jukejax import cli
from jukejax.common import files
from jukejax.data import corpus, reading, records
from jukejax.data.writer import DatasetWriter
from jukejax.runtime import platform_flags

if TYPE_CHECKING:
    from jukejax.inference.codec import Codec

FLAGS = flags.FlagValues()

VQVAE = flags.DEFINE_string(
    "vqvae", None, "Workdir of a VQ-VAE run, or a bundle.", flag_values=FLAGS
)
INPUT = flags.DEFINE_string(
    "input", None, "Audio shards: the output of prepare.", flag_values=FLAGS
)
OUTPUT = flags.DEFINE_string("output", None, "Folder for the code shards.", flag_values=FLAGS)
OFFSETS = flags.DEFINE_integer(
    "offsets",
    1,
    "How many times to store each training track: copy k without its first k * 128 / offsets "
    "samples. Tracks held out are stored once.",
    flag_values=FLAGS,
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    0,
    "Windows of 12 s to encode at once; 0 means 1 on a CPU and 8 for each accelerator.",
    flag_values=FLAGS,
)

VERSION = 1  # of how codes are made; a change makes kept ones stale


@dataclasses.dataclass(frozen=True)
class Piece:
    """One version of one track: what a `Codec` reads, and where its codes go.

    Attributes:
      offset: samples of the stored track that are left out at its start.
    """

    dataset: corpus.Dataset
    split: str
    track: corpus.Track
    offset: int

    @property
    def samples(self) -> int:
        return self.track.samples - self.offset

    def read(self, start: int, out: np.ndarray) -> None:
        """Fills `out`, float32 [time], with the mono samples from `start` on."""
        reading.fill_audio_window(self.dataset, self.split, self.track, self.offset + start, out)

    def kept(self, folder: Path, vqvae: str) -> Path:
        """Where its codes wait until all are made."""
        track = self.track
        place = self.split, track.shard, track.first_record, track.samples, self.offset
        key = json.dumps([self.dataset.corpus_hash, vqvae, place, VERSION])
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"


def pieces(dataset: corpus.Dataset, offsets: int) -> list[Piece]:
    """Every track as often as it is stored, in the order in which it is."""
    grid = records.HOPS[-1]
    return [
        Piece(dataset, split, track, k * grid // offsets)
        for split in corpus.SPLITS
        for track in dataset.tracks(split)
        for k in range(offsets if split == "train" else 1)
    ]


def keep(path: Path, codes: list[np.ndarray]) -> None:
    """Codes of all levels, whole or not at all."""
    levels = zip(records.LEVELS, codes, strict=True)
    files.write_arrays(path, {name: level.astype(np.uint16) for name, level in levels})


def read_kept(path: Path) -> dict[str, np.ndarray] | None:
    """What `keep` wrote, by level; None if it is not there, or not sound."""
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            return {name: file[name] for name in records.LEVELS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def info_of(dataset: corpus.Dataset, codec: "Codec", offsets: int) -> dict:
    """What dataset.json says of how the codes were made."""
    return {
        "codebook_size": codec.config.codebook_size,
        "vqvae": {"hash": codec.hash},
        "separator": dataset.info["separator"],
        "separation": dataset.info.get("separation"),
        "source": dataset.corpus_hash,
        "offsets": offsets,
    }


def finished(output: Path, info: dict) -> bool:
    """Whether just these codes are there already, with all their shards."""
    try:
        found = corpus.open_dataset(output).info
    except ValueError:
        return False
    if {name: found.get(name) for name in info} != info:
        return False
    shards = [shard for split in corpus.SPLITS for shard in found["splits"][split]["shards"]]
    paths = [output / shard["file"] for shard in shards]
    return all(
        path.exists() and path.stat().st_size == shard["bytes"]
        for path, shard in zip(paths, shards, strict=True)
    )


def encode(codec: "Codec", todo: list[Piece], folder: Path, batch_size: int) -> float:
    """Makes the codes that are not kept yet; returns how many seconds of audio that were."""
    from jukejax.common.progress import Progress

    paths = {id(piece): piece.kept(folder, codec.hash) for piece in todo}
    missing = [piece for piece in todo if read_kept(paths[id(piece)]) is None]
    total, new = (sum(piece.samples for piece in some) for some in (todo, missing))
    rate, begun, done = codec.sample_rate, time.monotonic(), 0
    progress = Progress(
        "encoding, seconds of audio", round(total / rate), done=round((total - new) / rate)
    )

    def advance(samples: int) -> None:
        nonlocal done
        done += samples
        speed = done / rate / (time.monotonic() - begun)
        progress.update(round((total - new + done) / rate), f"{speed:.1f} x real time")

    made = codec.encode_all(missing, batch_size=batch_size, progress=advance)
    for piece, codes in made:
        keep(paths[id(piece)], codes)
    return new / rate


def write(output: Path, todo: list[Piece], folder: Path, info: dict, vocabulary) -> None:
    """Kept codes to shards."""
    with DatasetWriter(output, kind="codes", vocabulary=vocabulary, **info) as writer:
        for piece in todo:
            codes = read_kept(piece.kept(folder, info["vqvae"]["hash"]))
            if codes is None:
                raise ValueError(
                    f"the codes of {piece.track.name} in {folder} were lost or damaged; run again"
                )
            track = dataclasses.replace(piece.track, offset=piece.track.offset + piece.offset)
            writer.add(piece.split, track, **codes)


def main() -> int:
    if VQVAE.value is None or INPUT.value is None or OUTPUT.value is None:
        raise ValueError("--vqvae, --input and --output are needed; see --help")
    if not 1 <= OFFSETS.value <= records.HOPS[-1]:
        raise ValueError(f"--offsets={OFFSETS.value} must lie in 1 to {records.HOPS[-1]}")
    if BATCH_SIZE.value < 0:
        raise ValueError(f"--batch_size={BATCH_SIZE.value} must be 1 or more, or 0")
    platform_flags.keep_memory()
    dataset = corpus.open_dataset(INPUT.value)
    if dataset.kind != "audio":
        raise ValueError(
            f"--input={INPUT.value} holds {dataset.kind}, not audio; run prepare first"
        )
    from jukejax.inference.codec import Codec, default_batch_size

    codec = Codec.load(VQVAE.value)
    if list(codec.config.hops) != list(records.HOPS):
        raise ValueError(
            f"{VQVAE.value} has hops {codec.config.hops}; code shards hold {records.HOPS}"
        )
    output, info = Path(OUTPUT.value), info_of(dataset, codec, OFFSETS.value)
    if finished(output, info):
        print(f"{output} holds these codes already")
        return 0
    batch_size = BATCH_SIZE.value or default_batch_size()
    todo, begun = pieces(dataset, OFFSETS.value), time.monotonic()
    with files.lock_output(output, "encode") as folder:
        seconds = encode(codec, todo, folder, batch_size)
        speed = seconds / (time.monotonic() - begun)
        write(output, todo, folder, info, dataset.vocabulary)
        files.clear_work(folder)
    minutes = sum(piece.samples for piece in todo) / codec.sample_rate / 60
    print(f"{len(todo)} tracks, {minutes:.1f} minutes, {speed:.1f} x real time: {output}")
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
