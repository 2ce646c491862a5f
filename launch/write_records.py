"""Writes records of an artist whom the shipped model does not know, for the demo.

    .venv/bin/python launch/write_records.py --output=records --tracks=20 --seconds=30

OUTPUT has a FLAC file a track, and metadata.csv for `prepare --metadata`. Records that are there
already are not written again.
"""

import csv
import io
from pathlib import Path

import soundfile
from absl import app, flags

from jukejax.common import files
from jukejax.common.progress import track_progress
from jukejax.data.audio import SAMPLE_RATE
from jukejax.preparation import house

OUTPUT = flags.DEFINE_string("output", None, "Folder for the records.", required=True)
TRACKS = flags.DEFINE_integer("tracks", 20, "Number of records.", lower_bound=1)
SECONDS = flags.DEFINE_float("seconds", 30.0, "Length of each in seconds.", lower_bound=4.0)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the music.", lower_bound=0)


def main(argv: list[str]) -> None:
    """Writes the records and their table."""
    del argv
    folder = Path(OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "artist", "genre"])
    for index in track_progress(range(TRACKS.value), total=TRACKS.value, label="records"):
        record = folder / f"record_{index:03d}.flac"
        writer.writerow([record.name, house.GUEST.name, house.GUEST.genres[0]])
        if not record.exists():
            track = house.track(index, seconds=SECONDS.value, seed=SEED.value, artist=house.GUEST)
            with files.replacing(record) as temporary:
                soundfile.write(temporary, track.instrumental, SAMPLE_RATE, format="FLAC")
    files.write_bytes(folder / "metadata.csv", table.getvalue().encode())


if __name__ == "__main__":
    app.run(main)
