r"""Writes the files of requests of launch/measure_house.sh.

    .venv/bin/python launch/write_house_requests.py --heldout=runs/measure_house/heldout \
        --output=runs/measure_house

tracks.jsonl asks for the artist, genre, tempo and key of the first 16 held-out tracks, so that
distances to held-out music do not measure other labels; artists.jsonl for one track of each artist.
Nothing else of the held-out tracks is used.
"""

import json
from pathlib import Path

from absl import app, flags

from jukejax.common import files
from jukejax.data import corpus
from jukejax.preparation.house import ARTISTS

HELDOUT = flags.DEFINE_string("heldout", None, "Folder that prepare wrote.", required=True)
SECONDS = flags.DEFINE_float("seconds", 32.0, "Length of each track.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for the two files.", required=True)
NUM_TRACKS = 16


def write_lines(path: Path, requests: list[dict]) -> None:
    """Writes a file of requests, a JSON object a line."""
    files.write_text(path, "".join(json.dumps(request) + "\n" for request in requests))


def main(argv: list[str]) -> None:
    """Writes tracks.jsonl and artists.jsonl."""
    del argv
    dataset = corpus.open_dataset(HELDOUT.value)
    tracks = [track for split in corpus.SPLITS for track in dataset.tracks(split)]
    tracks = sorted(tracks, key=lambda track: track.name)[:NUM_TRACKS]
    rest = {"seconds": SECONDS.value}
    output = Path(OUTPUT.value)
    labels = [
        {"artist": track.artist, "genre": track.genre[0], "bpm": track.bpm, "key": track.key}
        for track in tracks
    ]
    artists = [{"artist": artist, "bpm": 124, "key": "Am"} for artist in sorted(ARTISTS)]
    requests = [{**request, **rest, "seed": i} for i, request in enumerate([*labels, *artists])]
    write_lines(output / "tracks.jsonl", requests[: len(labels)])
    write_lines(output / "artists.jsonl", requests[len(labels) :])


if __name__ == "__main__":
    app.run(main)
