"""A data set of TensorFlow Datasets as a folder of sound files: what `--input=tfds:NAME` prepares.

Needs the extra `tfds` (TensorFlow). Every example becomes a WAV file in the cache, once; from then
on it is a source like any other, and TensorFlow is not needed again.
"""

import importlib.util
import io
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from jukejax.preparation import places, tracks
from jukejax.preparation.metadata import TrackLabels, file_key

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

INDEX = "index.json"  # written last: a folder with it is whole
GENRES = ("genre", "label")  # features that name the genre of an example
ARTIST = "artist"
BITS = (16, 24, 32)  # depths of integer sound


def sources(
    name: str, cache: str, *, data_dir: str | None, progress: Callable[[int, int], None]
) -> tuple[list[tracks.Source], dict[str, TrackLabels]]:
    """The examples of all splits of a data set as sources, and their labels by `file_key`.

    Args:
      name: NAME, NAME/CONFIG or NAME/CONFIG:VERSION, as TFDS writes it.
      cache: folder, local or in a bucket; the files are kept in `CACHE/tfds`.
      data_dir: where TFDS keeps its data; None means where it does by default.
      progress: told how many of how many examples are written.

    Raises:
      ValueError: if TensorFlow is missing, TFDS has no such data set, or it holds no sound.
    """
    folder = places.join(cache, "tfds", re.sub(r"[^\w.-]+", "-", name))
    index = places.join(folder, INDEX)
    if not places.exists(index):
        rows = _export(_open(name, data_dir), folder, progress)
        places.put_bytes((json.dumps(rows) + "\n").encode(), index)
    with places.local_copy(index) as path:
        rows = json.loads(path.read_text())
    found = [tracks.Source(row["file"], path=places.join(folder, row["file"])) for row in rows]
    given = {file_key(row["file"]): TrackLabels(row["artist"], row["genre"]) for row in rows}
    return found, given


def _open(name: str, data_dir: str | None) -> "tfds.core.DatasetBuilder":
    """The builder of a data set, downloaded if it has to be."""
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"--input=tfds:{name} needs TensorFlow, which is not installed: "
            "pip install 'jukejax[tfds]'"
        )
    import tensorflow as tf
    import tensorflow_datasets as tfds

    tf.config.set_visible_devices([], "GPU")  # the workers may need them
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        builder.download_and_prepare()
    except Exception as error:  # TFDS raises errors of any type, downloads too
        line = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"--input=tfds:{name} cannot be opened ({type(error).__name__}: {line}); see "
            "https://www.tensorflow.org/datasets for names, and --tfds_data_dir"
        ) from error
    return builder


def _export(
    builder: "tfds.core.DatasetBuilder", folder: str, progress: Callable[[int, int], None]
) -> list[dict]:
    """Writes the examples that are not there yet; file, artist and genre of each."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    key, rate = audio_feature(features, builder.info.full_name)
    classes = [k for k in features if isinstance(features[k], tfds.features.ClassLabel)]
    genre = next((name for name in GENRES if name in classes), None)
    total = sum(split.num_examples for split in builder.info.splits.values())
    rows = []
    for split in sorted(builder.info.splits):
        for number, example in enumerate(tfds.as_numpy(builder.as_dataset(split=split))):
            file = f"{split}-{number:06d}.wav"
            place = places.join(folder, file)
            if not places.exists(place):
                places.put_bytes(wav(example[key], rate), place)
            artist = example.get(ARTIST, b"")
            rows.append(
                {
                    "file": file,
                    "artist": artist.decode() if isinstance(artist, bytes) else "",
                    "genre": features[genre].int2str(int(example[genre])) if genre else "",
                }
            )
            progress(len(rows), total)
    return rows


def audio_feature(features: "tfds.features.FeaturesDict", name: str) -> tuple[str, int]:
    """Key and sample rate in Hz of the sound in an example.

    Raises:
      ValueError: if there is none, more than one and none called "audio", or no sample rate.
    """
    import tensorflow_datasets as tfds

    found = [key for key in features if isinstance(features[key], tfds.features.Audio)]
    if "audio" in found:
        found = ["audio"]
    if len(found) != 1:
        held = f"several: {', '.join(found)}" if found else f"none among {', '.join(features)}"
        raise ValueError(f"tfds:{name} must have one audio feature at its top level; it has {held}")
    rate = features[found[0]].sample_rate
    if not rate:
        raise ValueError(
            f"tfds:{name} does not say the sample rate of {found[0]!r}; write its files to a "
            "folder and give that as --input"
        )
    return found[0], int(rate)


def wav(sound: np.ndarray, rate: int) -> bytes:
    """A WAV file of sound as TFDS gives it.

    Args:
      sound: [time] or [time, channels], float in [-1, 1] or integers of 16, 24 or 32 bits in
        whatever type: the smallest depth that holds them all is taken.
    """
    buffer = io.BytesIO()
    if np.issubdtype(sound.dtype, np.floating):
        soundfile.write(buffer, sound, rate, "FLOAT", format="WAV")
        return buffer.getvalue()
    largest = max(int(sound.max(initial=0)), -1 - int(sound.min(initial=0)))
    bits = next((bits for bits in BITS if largest < 2 ** (bits - 1)), None)
    if bits is None:
        raise ValueError(f"sound with values up to {largest} is of no depth that we know")
    if bits == 16:
        soundfile.write(buffer, sound.astype(np.int16), rate, "PCM_16", format="WAV")
    else:  # libsndfile takes the upper bits of 32
        scaled = (sound.astype(np.int64) << (32 - bits)).astype(np.int32)
        soundfile.write(buffer, scaled, rate, f"PCM_{bits}", format="WAV")
    return buffer.getvalue()
