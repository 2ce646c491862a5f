"""Comparison of the shards of a dataset with the sizes and checksums of its dataset.json.

A run of training skips the lost records of a shard with a warning (`corpus`); what is made from all
of a dataset once, such as codes, must be made from all of it.
"""

from pathlib import Path

import google_crc32c

from jukejax.common.progress import Progress
from jukejax.data import byte_sources, corpus

_BLOCK = 8 << 20  # bytes that are read at once
_REPORTED = 1024  # MiB of shards from which progress is reported


def check_shards(dataset: corpus.Dataset) -> None:
    """Checks that every shard is complete and has the content that dataset.json records.

    Raises:
      ValueError: a shard is missing, empty, cut short or another one.
    """
    damage = find_damage(dataset)
    if damage:
        command = corpus.COMMANDS[dataset.kind]
        raise ValueError(f"{damage}; copy the shard again, or run {command} again")


def find_damage(dataset: corpus.Dataset) -> str | None:
    """Returns the damage of the first shard that is not as recorded; None if all are.

    The sizes of all shards are compared first; then each file is read once.
    """
    shards = [
        (dataset.folder / entry["file"], entry)
        for split in corpus.SPLITS
        for entry in dataset.info["splits"][split]["shards"]
    ]
    for path, entry in shards:
        if not byte_sources.source_exists(path):
            return f"{path} is missing"
        size = byte_sources.open_source(path).size
        if size != entry["bytes"]:
            state = "is empty" if not size else f"has {size:,} bytes"
            return f"{path} {state}, and dataset.json records {entry['bytes']:,} bytes"
    megabytes = sum(entry["bytes"] for _, entry in shards) >> 20
    progress, read = Progress("checking shards, MiB", megabytes), 0
    for path, entry in shards:
        checksum = f"{compute_crc32c(path):08x}"
        if checksum != entry["crc32c"]:
            return (
                f"{path} is damaged or another shard: its crc32c is {checksum}, and dataset.json "
                f"records {entry['crc32c']}"
            )
        read += entry["bytes"]
        if megabytes >= _REPORTED:
            progress.update(read >> 20)
    return None


def compute_crc32c(path: Path) -> int:
    """Computes the CRC-32C of a file."""
    checksum, source = 0, byte_sources.open_source(path)
    buffer = memoryview(bytearray(_BLOCK))
    for start in range(0, source.size, _BLOCK):
        size = source.read_into(buffer, start)
        checksum = google_crc32c.extend(checksum, bytes(buffer[:size]))
    return checksum
