"""Compares generated tracks with the artists of a corpus by timbre.

    .venv/bin/python launch/measure_artists.py --samples=runs/a,runs/b --corpus=data/house/codes

Each folder of --samples was written by `sample --artist=...`. The corpus is the output of `encode`,
whose tracks are decoded, so that all have the sound of the VQ-VAE: beside the output of `prepare`
even true codes, decoded, are nearest by that sound and not by their artist. A track's timbre are
the means and spreads of its mel bands and of their changes (`distribution.mel_statistics`), scaled
by their spread over the corpus; the nearest artist is the one with the nearest mean. Prints a line
a track, how many are right, and the same for held-out tracks of the corpus, which bounds it.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from absl import app, flags

from jukejax.analysis import distribution, fidelity, track_figures
from jukejax.common import files
from jukejax.data import corpus
from jukejax.data.audio import SAMPLE_RATE
from jukejax.evaluation.sound_sets import open_set
from jukejax.inference.loaded_model import Model
from jukejax.inference.matched_decoding import decode_level
from jukejax.weights.shipped import HOUSE, resolve_model

SAMPLES = flags.DEFINE_list("samples", None, "Folders that sample wrote.", required=True)
CORPUS = flags.DEFINE_string("corpus", None, "Folder that encode wrote.", required=True)
MODEL = flags.DEFINE_string("model", HOUSE, "Bundle whose VQ-VAE decodes the corpus.")
PER_ARTIST = flags.DEFINE_integer("per_artist", 12, "Training tracks of each artist.")


def measure_timbre(sound: np.ndarray) -> np.ndarray:
    """Returns the mean statistics of a sound's segments, float64 [E]."""
    mel = fidelity.log_mel(sound.mean(axis=1), SAMPLE_RATE)
    segments = track_figures.split_segments(mel)
    return np.mean([distribution.mel_statistics(segment) for segment in segments], axis=0)


def decode_track(dataset: corpus.Dataset, split: str, number: int, model: Model) -> np.ndarray:
    """Decodes the finest codes of a track as `sample` does, float32 [time, 1]."""
    codes = dict(enumerate(dataset.read_codes(split, number)))
    return decode_level(model.codec, {k: x.astype(np.int32) for k, x in codes.items()}, 0)


def main(argv: list[str]) -> None:
    """Prints the nearest artist of each track."""
    del argv
    dataset = corpus.open_dataset(CORPUS.value)
    dataset.check_kind("codes")
    model = Model(resolve_model(MODEL.value), "float32", "float")
    timbres = defaultdict(list)
    for number, track in enumerate(dataset.tracks("train")):
        if len(timbres[track.artist]) < PER_ARTIST.value:
            sound = decode_track(dataset, "train", number, model)
            timbres[track.artist].append(measure_timbre(sound))
    scale = np.concatenate([np.asarray(rows) for rows in timbres.values()]).std(axis=0) + 1e-9
    centers = {artist: np.mean(rows, axis=0) for artist, rows in timbres.items()}

    def find_nearest(timbre: np.ndarray) -> str:
        distances = {
            artist: np.mean(np.square((timbre - center) / scale))
            for artist, center in centers.items()
        }
        return min(distances, key=lambda artist: distances[artist])

    heldout = [
        (
            track.artist,
            find_nearest(measure_timbre(decode_track(dataset, "heldout", number, model))),
        )
        for number, track in enumerate(dataset.tracks("heldout"))
    ]
    generated = []
    for folder in SAMPLES.value:
        for entry in open_set(folder, "samples").entries:
            meta = files.read_json(Path(folder) / entry.name / "meta.json")
            nearest = find_nearest(measure_timbre(entry.read(0.0)))
            generated.append((meta["artist"], nearest))
            print(f"{folder}/{entry.name}: asked {meta['artist']}, nearest {nearest}")
    for name, pairs in (("generated", generated), ("held-out", heldout)):
        right = sum(asked == nearest for asked, nearest in pairs)
        print(f"nearest artist is the asked one: {right} of {len(pairs)} {name} tracks")


if __name__ == "__main__":
    app.run(main)
