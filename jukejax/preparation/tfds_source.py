"""Data sets of TensorFlow Datasets as folders of sound files, for `--input=tfds:NAME`.

Needs the extra `tfds` (TensorFlow). Each example is written once as a WAV file in the cache, and
is then a source like any other, without TensorFlow.
"""

import importlib.util
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from jukejax.common import extras, files, storage
from jukejax.common.config import freeze
from jukejax.preparation.metadata import TrackLabels, file_key
from jukejax.preparation.prepared_track import Source

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

INDEX = "index.json"  # written last, marks a folder as complete
GENRES = ("genre", "label")  # features that name the genre of an example
ARTIST = "artist"
BITS = (16, 24, 32)  # depths of integer samples


@dataclass(frozen=True)
class Example:
    """An exported example: the name of its file, and its labels."""

    file: str
    artist: str
    genre: str


def export_sources(
    name: str, cache: str, *, data_dir: str | None, progress: Callable[[int, int], None]
) -> tuple[list[Source], dict[str, TrackLabels]]:
    """Returns the examples of all splits of a data set as sources, and labels by `file_key`.

    Args:
      name: NAME, NAME/CONFIG or NAME/CONFIG:VERSION, in the notation of TFDS.
      cache: folder, local or in a bucket; the files are kept in `CACHE/tfds`.
      data_dir: folder of TFDS's data; None: its default.
      progress: called with the number of written examples and the total.

    Raises:
      ValueError: TensorFlow is missing, TFDS has no such data set, or it holds no audio.
    """
    folder = storage.join_path(cache, "tfds", re.sub(r"[^\w.-]+", "-", name))
    index = storage.join_path(folder, INDEX)
    rows = read_index(index)
    if rows is None:
        rows = _export_examples(_open_builder(name, data_dir), folder, progress)
        text = json.dumps([asdict(row) for row in rows]) + "\n"
        files.store_bytes(index, text.encode())
    sources = [Source(row.file, path=storage.join_path(folder, row.file)) for row in rows]
    track_labels = {file_key(row.file): TrackLabels(row.artist, row.genre) for row in rows}
    return sources, track_labels


def read_index(index: str) -> list[Example] | None:
    """Reads the index of a folder of exported examples; None without, or if it is damaged."""
    if not storage.file_exists(index):
        return None
    with storage.local_copy(index) as path:
        return files.read_cached(path, _read_examples, name=index)


def _read_examples(path: Path) -> list[Example]:
    rows = json.loads(path.read_text("utf-8"))
    if not isinstance(rows, list):
        raise ValueError("it holds no list")
    return [freeze(Example, row, f"{path.name}[{i}]") for i, row in enumerate(rows)]


def _open_builder(name: str, data_dir: str | None) -> "tfds.core.DatasetBuilder":
    """Returns the builder of a data set, downloaded if necessary."""
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"--input=tfds:{name} needs TensorFlow, which is not installed: "
            f"{extras.format_install('tfds')}"
        )
    import tensorflow as tf
    import tensorflow_datasets as tfds

    tf.config.set_visible_devices([], "GPU")  # workers may need them
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        builder.download_and_prepare()
    except Exception as error:  # TFDS and downloads raise errors of any type
        line = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"--input=tfds:{name} cannot be opened ({type(error).__name__}: {line}); see "
            "https://www.tensorflow.org/datasets for names, and --tfds_data_dir"
        ) from error
    return builder


def _export_examples(
    builder: "tfds.core.DatasetBuilder", folder: str, progress: Callable[[int, int], None]
) -> list[Example]:
    """Writes the missing examples; returns all."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    key, rate = find_audio_feature(features, builder.info.full_name)
    classes = [k for k in features if isinstance(features[k], tfds.features.ClassLabel)]
    genre = next((name for name in GENRES if name in classes), None)
    total = sum(split.num_examples for split in builder.info.splits.values())
    rows = []
    for split in sorted(builder.info.splits):
        for number, example in enumerate(tfds.as_numpy(builder.as_dataset(split=split))):
            file = f"{split}-{number:06d}.wav"
            path = storage.join_path(folder, file)
            if not storage.file_exists(path):
                files.store_bytes(path, encode_wav(example[key], rate))
            artist = example.get(ARTIST, b"")
            rows.append(
                Example(
                    file,
                    artist.decode() if isinstance(artist, bytes) else "",
                    features[genre].int2str(int(example[genre])) if genre else "",
                )
            )
            progress(len(rows), total)
    return rows


def find_audio_feature(features: "tfds.features.FeaturesDict", name: str) -> tuple[str, int]:
    """Returns key and sample rate in Hz of the audio in an example.

    Raises:
      ValueError: there is none, several and none called "audio", or no sample rate.
    """
    import tensorflow_datasets as tfds

    keys = [key for key in features if isinstance(features[key], tfds.features.Audio)]
    if "audio" in keys:
        keys = ["audio"]
    if len(keys) != 1:
        present = f"several: {', '.join(keys)}" if keys else f"none among {', '.join(features)}"
        raise ValueError(
            f"tfds:{name} must have one audio feature at its top level; it has {present}"
        )
    rate = features[keys[0]].sample_rate
    if not rate:
        raise ValueError(
            f"tfds:{name} does not declare the sample rate of {keys[0]!r}; write its files to a "
            "folder and give that as --input"
        )
    return keys[0], int(rate)


def encode_wav(sound: np.ndarray, rate: int) -> bytes:
    """Encodes audio in the representation of TFDS as a WAV file.

    Args:
      sound: [time] or [time, channels], float in [-1, 1] or integers of 16, 24 or 32 bits in any
        type: the smallest depth that holds all values is used.
    """
    buffer = io.BytesIO()
    if np.issubdtype(sound.dtype, np.floating):
        soundfile.write(buffer, sound, rate, "FLOAT", format="WAV")
        return buffer.getvalue()
    largest = max(int(sound.max(initial=0)), -1 - int(sound.min(initial=0)))
    bits = next((bits for bits in BITS if largest < 2 ** (bits - 1)), None)
    if bits is None:
        raise ValueError(
            f"audio with values up to {largest} has an unknown depth; known: {BITS} bits"
        )
    if bits == 16:
        soundfile.write(buffer, sound.astype(np.int16), rate, "PCM_16", format="WAV")
    else:  # libsndfile takes the upper bits of 32
        scaled = (sound.astype(np.int64) << (32 - bits)).astype(np.int32)
        soundfile.write(buffer, scaled, rate, f"PCM_{bits}", format="WAV")
    return buffer.getvalue()
