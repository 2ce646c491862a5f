"""Description of a folder of shards for TensorFlow Datasets: two JSON files beside dataset.json.

With `dataset_info.json` and `features.json`, `tfds.builder_from_directory(FOLDER)` opens the folder
of `prepare` or `encode`; an example is one record, see `records`. The fields are those of
tensorflow_datasets/core/proto (dataset_info.proto, feature.proto); neither TFDS nor TensorFlow is
imported.
"""

from collections.abc import Sequence
from pathlib import Path

from jukejax.common import files
from jukejax.data import records

_FEATURES = "tensorflow_datasets.core.features"
_TEXT = {"pythonClassName": f"{_FEATURES}.text_feature.Text", "text": {}}
_SCALAR = {
    "pythonClassName": f"{_FEATURES}.scalar.Scalar",
    "tensor": {"shape": {}, "dtype": "int64", "encoding": "none"},
}
_TEXTS = {
    "pythonClassName": f"{_FEATURES}.sequence_feature.Sequence",
    "sequence": {"feature": _TEXT, "length": "-1"},
}


def write_description(folder: Path, table: dict) -> None:
    """Writes both files; `table` is the content of dataset.json."""
    for name, content in (
        ("features", describe_features(table["kind"], _name_codes(table))),
        ("dataset_info", describe_dataset(table)),
    ):
        files.write_json(folder / f"{name}.json", content)


def _name_codes(table: dict) -> list[str]:
    return list(records.name_arrays(len(table["hops"]), table.get("references", ())))


def describe_features(kind: str, code_names: Sequence[str] = ()) -> dict:
    """Returns features.json of a dataset of `kind` "audio" or "codes".

    Audio is int16 [time * channels], interleaved: reshape it to [-1, channels]. Codes are uint16
    [time] of each of `code_names`.
    """
    if kind == "audio":
        arrays = {"audio": _describe_array("int16"), "channels": _SCALAR}
    else:
        arrays = {name: _describe_array("uint16") for name in code_names}
    positions = {"track": _SCALAR, "chunk": _SCALAR}
    names = {"name": _TEXT, "artist": _TEXT, "genre": _TEXTS}
    return {
        "type": f"{_FEATURES}.features_dict.FeaturesDict",
        "content": {"features": arrays | positions | names},
        "proto_cls": "tensorflow_datasets.FeaturesDict",
    }


def describe_dataset(table: dict) -> dict:
    """Returns dataset_info.json; splits without records are omitted."""
    splits = []
    for name, split in table["splits"].items():
        shards = split["shards"]
        if shards:
            splits.append(
                {
                    "name": name,
                    "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                    "numBytes": str(sum(shard["bytes"] for shard in shards)),
                    "shardLengths": [str(shard["records"]) for shard in shards],
                }
            )
    return {
        "name": f"jukejax_{table['kind']}",
        "version": "1.0.0",
        "description": f"{table['kind']} shards of jukejax, corpus_hash {table['corpus_hash']}",
        "fileFormat": "tfrecord",
        "splits": splits,
    }


def _describe_array(dtype: str) -> dict:
    """Describes a vector of any length, stored as the bytes of its values."""
    return {
        "pythonClassName": f"{_FEATURES}.tensor_feature.Tensor",
        "tensor": {"shape": {"dimensions": ["-1"]}, "dtype": dtype, "encoding": "bytes"},
    }
