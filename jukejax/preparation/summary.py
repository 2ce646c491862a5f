"""The summary that `prepare` prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from jukejax.common.formatting import format_clock, format_count
from jukejax.data import corpus

MAX_PRINTED = 20  # largest number of skipped files that are printed; corpus.json lists all


def print_summary(
    output: str, table: Mapping[str, Any], dataset: corpus.Dataset, missing: Sequence[str]
) -> None:
    """Prints the size of the dataset, groups, skipped files and other findings.

    Args:
      table: content of corpus.json.
      missing: files of the metadata that are not in the input.
    """
    for split, words in (("train", "to train on"), ("heldout", "held out")):
        tracks = dataset.tracks(split)
        length = format_clock(sum(track.samples for track in tracks) / dataset.table.sample_rate)
        size = sum(shard["bytes"] for shard in dataset.info["splits"][split]["shards"]) / 1e6
        tracks_of_split = format_count(len(tracks), "track")
        print(f"{tracks_of_split} ({length}) {words}, {size:.0f} MB in {output}")
    if not dataset.tracks("heldout"):
        print("nothing is held out: there is one track only, or --heldout=0")
    group_names = [row["group"] for row in table["files"] if "group" in row]
    if shared := len(group_names) - len(set(group_names)):
        print(f"{format_count(shared, 'track')} with a recording of another track: in its split")
    if sdr := table.get("instrumental_si_sdr"):
        print(
            f"instrumental against the truth: SI-SDR {sdr['before']:.1f} dB before, "
            f"{sdr['after']:.1f} dB after --separator={table['separator']}"
        )
    _print_lyrics(table)
    _print_ignored(table)
    if missing:
        files_missing = format_count(len(missing), "file")
        print(f"--metadata names {files_missing} not in --input, such as {missing[0]}")
    _print_skipped(output, [row for row in table["files"] if row["fate"] == "skipped"])


def _print_lyrics(table: Mapping[str, Any]) -> None:
    """Prints the number of tracks with lyrics, and what the removal of vocals means for them."""
    lengths = [row["lyric_characters"] for row in table["files"] if "lyric_characters" in row]
    if not lengths:
        return
    tracks = format_count(len(lengths), "track")
    print(f"lyrics of {tracks}, {sum(lengths) // len(lengths)} characters on average")
    if table["separator"] != "none":
        print(
            f"--separator={table['separator']} removes the voice that sings them; a model of "
            "lyrics needs --separator=none"
        )


def _print_ignored(table: Mapping[str, Any]) -> None:
    """Prints the files and folders that were not read, and the number of tracks with notes."""
    if ignored := table["ignored"]:
        counts = ", ".join(f"{suffix} {count}" for suffix, count in ignored.items())
        number = format_count(sum(ignored.values()), "other file")
        print(f"{number} not read, by ending: {counts}")
    for folder in table["unreadable"]:
        print(f"folder {folder} cannot be read: its files are missing")
    if noted := sum(bool(row.get("notes")) for row in table["files"]):
        print(f"{format_count(noted, 'track')} with notes, such as on repairs, in corpus.json")


def _print_skipped(output: str, skipped: Sequence[Mapping[str, Any]]) -> None:
    if skipped:
        print(f"{format_count(len(skipped), 'file')} skipped:")
    for row in skipped[:MAX_PRINTED]:
        print(f"  {row['file']}: {row['reason']}")
    if len(skipped) > MAX_PRINTED:
        print(f"  and {len(skipped) - MAX_PRINTED} more, see {output}/corpus.json")
