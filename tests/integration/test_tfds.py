"""TensorFlow Datasets: it opens datasets of jukejax, and its data sets can be prepared."""

import importlib.util
import io
import json
import sys

import numpy as np
import pytest
import soundfile

from jukejax.data import audio, corpus, tfds_info
from jukejax.data.writer import DatasetWriter
from jukejax.preparation import tfds_source
from jukejax.preparation.metadata import TrackLabels
from tests.data.test_corpus import VOCABULARY, codes, sound, write

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="TensorFlow is not installed (the extra `tfds`)",
)
RATE = 22050
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def write_codes(folder):
    with DatasetWriter(
        folder, kind="codes", vocabulary=VOCABULARY, codebook_size=2048, vqvae={"hash": "abc"}
    ) as writer:
        writer.add("train", corpus.Track("t0", genre=("house",)), **codes(1500))


def test_tfds_reads_the_description_of_a_folder(tmp_path):
    import tensorflow_datasets as tfds

    dataset = write(tmp_path / "d", [300_000] * 5, shard_bytes=1 << 20)
    builder = tfds.builder_from_directory(tmp_path / "d")
    assert builder.info.name == "jukejax_audio"
    for split in corpus.SPLITS:
        shards = dataset.info["splits"][split]["shards"]
        info = builder.info.splits[split]
        assert info.shard_lengths == [shard["records"] for shard in shards]
        assert info.num_bytes == sum(shard["bytes"] for shard in shards)
        assert [path.name for path in info.filepaths] == [shard["file"] for shard in shards]


CODES = ("level_0", "level_1", "level_2", "reference_1")


@pytest.mark.parametrize("kind", ["audio", "codes"])
def test_the_features_are_those_that_tfds_would_write(kind):
    from tensorflow_datasets import features as tff

    arrays = {
        "audio": {"audio": tff.Tensor(shape=(None,), dtype=np.int16, encoding="bytes")}
        | {"channels": tff.Scalar(np.int64)},
        "codes": {
            name: tff.Tensor(shape=(None,), dtype=np.uint16, encoding="bytes") for name in CODES
        },
    }
    common = {"track": tff.Scalar(np.int64), "chunk": tff.Scalar(np.int64)}
    names = {"name": tff.Text(), "artist": tff.Text(), "genre": tff.Sequence(tff.Text())}
    theirs = tff.FeaturesDict(arrays[kind] | common | names)
    assert tfds_info.describe_features(kind, CODES) == theirs.to_json()


def test_an_empty_split_is_left_out(tmp_path):
    write_codes(tmp_path)
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert [split["name"] for split in info["splits"]] == ["train"]


@needs_tensorflow
def test_tfds_reads_the_records_of_audio_shards(tmp_path):
    import tensorflow_datasets as tfds

    lengths = [300_000, 5, 131_072]
    write(tmp_path / "d", lengths)
    builder = tfds.builder_from_directory(tmp_path / "d")
    found = {}
    for example in tfds.as_numpy(builder.as_dataset(split="train+heldout")):
        assert list(example["genre"]) == [b"house"]
        array = example["audio"].reshape(-1, example["channels"])
        found[example["name"].decode(), int(example["chunk"])] = array
    for i, length in enumerate(lengths):
        parts = [found[key] for key in sorted(found) if key[0] == f"t{i}"]
        np.testing.assert_array_equal(np.concatenate(parts), sound(length, seed=i))


@needs_tensorflow
def test_tfds_reads_the_records_of_code_shards(tmp_path):
    import tensorflow_datasets as tfds

    write_codes(tmp_path)
    examples = list(tfds.as_numpy(tfds.builder_from_directory(tmp_path).as_dataset(split="train")))
    assert len(examples) == 2
    for level, array in codes(1500).items():
        np.testing.assert_array_equal(np.concatenate([e[level] for e in examples]), array)


def make_set(data_dir, **audio_options):
    """Writes a data set of TFDS with 3 examples in two splits; returns their samples."""
    import tensorflow_datasets as tfds

    random = np.random.RandomState(0)
    sounds = [random.randint(-20000, 20000, RATE).astype(np.int64) for _ in range(3)]

    class Sines(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = data_dir

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "audio": tfds.features.Audio(**audio_options),
                        "label": tfds.features.ClassLabel(names=["disco", "house"]),
                        "artist": tfds.features.Text(),
                    }
                ),
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(0, 2), "test": self._generate_examples(2, 3)}

        def _generate_examples(self, start=0, stop=0):
            for i in range(start, stop):
                yield i, {"audio": sounds[i], "label": i % 2, "artist": f"artist {i}"}

    Sines(data_dir=data_dir).download_and_prepare()
    return sounds


@needs_tensorflow
def test_a_set_of_tfds_becomes_labelled_files(tmp_path):
    sounds = make_set(tmp_path / "sets", sample_rate=RATE)
    seen = []
    found, given = tfds_source.export_sources(
        "sines:1.0.0",
        str(tmp_path / "cache"),
        data_dir=tmp_path / "sets",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [s.name for s in found] == ["test-000000.wav", "train-000000.wav", "train-000001.wav"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    rows = {}
    for source in found:
        array, rate = soundfile.read(source.path, dtype="int16")
        assert rate == RATE
        place = next(i for i, sound in enumerate(sounds) if np.array_equal(sound, array))
        rows[place] = given[source.name]
    assert rows == {i: TrackLabels(f"artist {i}", ("disco", "house")[i % 2]) for i in range(3)}


@needs_tensorflow
def test_a_set_is_read_once(tmp_path):
    make_set(tmp_path / "sets", sample_rate=RATE)
    arguments = {"data_dir": tmp_path / "sets", "progress": lambda done, total: None}
    first = tfds_source.export_sources("sines", str(tmp_path / "cache"), **arguments)
    arguments["data_dir"] = tmp_path / "gone"
    assert tfds_source.export_sources("sines", str(tmp_path / "cache"), **arguments) == first


@needs_tensorflow
def test_sets_without_a_sample_rate_and_missing_sets_are_refused(tmp_path):
    make_set(tmp_path / "sets")
    arguments = {"data_dir": tmp_path / "sets", "progress": lambda done, total: None}
    with pytest.raises(ValueError, match=r"tfds:sines/1\.0\.0 does not declare the sample rate"):
        tfds_source.export_sources("sines", str(tmp_path / "cache"), **arguments)
    with pytest.raises(ValueError, match=r"--input=tfds:no_such_set cannot be opened"):
        tfds_source.export_sources("no_such_set", str(tmp_path / "cache"), **arguments)


@pytest.mark.skipif("tensorflow" in sys.modules or not needs_tensorflow.args[0], reason="has it")
def test_without_tensorflow_the_missing_extra_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"tfds:gtzan needs TensorFlow.*pip install -e .*\[tfds"):
        tfds_source.export_sources("gtzan", str(tmp_path), data_dir=None, progress=print)


@needs_tensorflow
def test_the_audio_feature_is_found_or_the_features_are_named():
    from tensorflow_datasets import features as tff

    sound = tff.Audio(sample_rate=RATE)
    found = tfds_source.find_audio_feature(tff.FeaturesDict({"x": sound, "y": tff.Text()}), "a")
    assert found == ("x", RATE)
    two = tff.FeaturesDict({"audio": sound, "noise": tff.Audio(sample_rate=1)})
    assert tfds_source.find_audio_feature(two, "a") == ("audio", RATE)
    with pytest.raises(ValueError, match=r"tfds:mnist must have one audio feature .* none among y"):
        tfds_source.find_audio_feature(tff.FeaturesDict({"y": tff.Text()}), "mnist")
    with pytest.raises(ValueError, match="it has several: a, b"):
        tfds_source.find_audio_feature(tff.FeaturesDict({"a": sound, "b": sound}), "x")


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("channels", [1, 2])
def test_integers_of_any_depth_keep_every_bit(bits, channels):
    limit = 2 ** (bits - 1)
    values = np.random.RandomState(0).randint(-limit, limit, (500, channels), np.int64)
    values[0] = limit - 1
    shape = (500, channels) if channels > 1 else (500,)
    read, rate = soundfile.read(
        io.BytesIO(tfds_source.encode_wav(values.reshape(shape), RATE)),
        dtype="int32",
        always_2d=True,
    )
    assert rate == RATE
    np.testing.assert_array_equal(read >> (32 - bits), values)


def test_float_audio_keeps_its_level(tmp_path):
    values = np.random.RandomState(0).uniform(-2, 2, (500, 2)).astype(np.float32)
    (tmp_path / "a.wav").write_bytes(tfds_source.encode_wav(values, audio.SAMPLE_RATE))
    np.testing.assert_array_equal(
        audio.load_audio(tmp_path / "a.wav", repair=False).samples, values
    )
