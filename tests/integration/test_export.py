"""The `export` command: every format describes itself; test_export_alone.py computes with them."""

import json
import shutil

import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from jukejax.common import files
from jukejax.weights import bundle, loading
from jukejax.weights.codec_identity import identify_codec
from jukejax.weights.openai import checkpoint
from jukejax.weights.part_configs import parse_description
from tests.support import reference, small_bundle
from tests.support.command import run, run_in_process
from tests.support.exporting import export

PARTS = ("vqvae", "level_0", "level_1", "level_2")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("source"))


def test_a_bundle_of_a_bundle_is_the_same(tmp_path, source):
    output = export(source, "bundle", tmp_path / "b")
    assert bundle.hash_bundle(output) == bundle.hash_bundle(source)
    model = bundle.open_bundle(output)
    assert {k: model[k] for k in ("license", "vocabulary")} == {
        k: small_bundle.FACTS[k] for k in ("license", "vocabulary")
    }
    assert model["provenance"] == ["random numbers", f"exported from {source}"]
    assert "recipe" not in model
    with_recipe = export(source, "bundle", tmp_path / "c", "--recipe=five hours, two cores")
    copy = export(with_recipe, "bundle", tmp_path / "d")
    assert bundle.open_bundle(copy)["recipe"] == "five hours, two cores"


def test_a_vqvae_in_float16_is_another_one(tmp_path, source):
    """Its codes are those of the rounded weights; priors of the exact ones do not fit it."""
    flags = ("--format=bundle", "--dtype=float16")
    half = tmp_path / "half"
    (said,) = run_in_process(
        "export", f"--workdir={source}", f"--output={half}", *flags, code=2
    ).stderr.splitlines()
    assert "was trained on codes of another VQ-VAE" in said
    codec = tmp_path / "codec"
    shutil.copytree(source / "vqvae", codec / "vqvae")
    files.write_json(codec / "model.json", files.read_json(source / "model.json") | {"levels": []})
    export(codec, "bundle", half, "--dtype=float16")
    halves = load_file(half / "vqvae" / "weights.safetensors")
    for name, value in load_file(source / "vqvae" / "weights.safetensors").items():
        if name.startswith("params/") or name.endswith("/codebook"):
            np.testing.assert_array_equal(halves[name], value.astype(np.float16), strict=True)
        elif name.endswith("/codebook_sum"):
            assert name not in halves
        else:
            np.testing.assert_array_equal(halves[name], value, strict=True)
    weights = loading.load_model(half, "vqvae")[1]
    for book in weights["extra"].values():
        sums = book["codebook"] * book["codebook_count"][:, None]
        np.testing.assert_array_equal(book["codebook_sum"], sums, strict=True)
        assert book["codebook"].dtype == np.float32
    identity = identify_codec(weights)
    assert bundle.open_bundle(half)["vqvae"] == identity
    again = export(half, "bundle", tmp_path / "again", "--dtype=float16")
    assert bundle.hash_bundle(again) == bundle.hash_bundle(half)


def test_safetensors_headers_describe_the_model(tmp_path, source):
    output = export(source, "safetensors", tmp_path / "s", "--license=MIT")
    for part in PARTS:
        tensors = load_file(output / f"{part}.safetensors")
        expected = load_file(source / part / "weights.safetensors")
        assert tensors.keys() == expected.keys()
        assert all(tensors[name].tobytes() == expected[name].tobytes() for name in tensors)
        with safe_open(output / f"{part}.safetensors", "np") as file:
            header = {key: json.loads(value) for key, value in file.metadata().items()}
        assert parse_description(header["config"]) == (part, small_bundle.configs()[part])
        assert header["license"] == "MIT"
        assert header["vocabulary"] == small_bundle.VOCABULARY
        assert header["provenance"][0] == "random numbers"
    facts = files.read_json(output / "export.json")
    assert facts["layout"] == "safetensors"
    assert facts["parts"].keys() == set(PARTS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir of a VQ-VAE, its latest weights, and their moving average."""
    config = small_bundle.VQVAE
    latest, averaged = (small_bundle.random_weights(config, seed) for seed in (1, 2))
    workdir = tmp_path_factory.mktemp("run")
    files.write_json(workdir / "description.json", small_bundle.describe(config))
    state = {
        "params": latest["params"],
        "ema_params": averaged["params"],
        "extra": latest["extra"],
    }
    with ocp.CheckpointManager((workdir / "checkpoints").absolute()) as manager:
        manager.save(3, args=ocp.args.Composite(state=ocp.args.StandardSave(state)))
    return workdir, latest, averaged


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_averaged_or_latest_weights_of_a_run(tmp_path, trained, weights):
    workdir, latest, averaged = trained
    output = export(workdir, "bundle", tmp_path / "b", f"--weights={weights}")
    exported = bundle.flatten_weights(bundle.load_part(output / "vqvae")[1]["params"])
    expected = bundle.flatten_weights((averaged if weights == "ema" else latest)["params"])
    assert all(exported[name].tobytes() == expected[name].tobytes() for name in expected)
    assert bundle.open_bundle(output)["provenance"] == [f"{workdir} ({weights}, step 3)"]


def test_a_bundle_has_no_raw_weights(tmp_path, source):
    """In a process of its own, as the only one of the tests here."""
    flags = (f"--workdir={source}", "--weights=raw", f"--output={tmp_path / 'b'}")
    assert "remove --weights" in run("export", *flags, code=2).stderr
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_openai_files_hold_license_and_provenance(tmp_path, source):
    flags = (f"--workdir={source}", "--format=openai", f"--output={tmp_path / 'o'}")
    reference.verb("export", *flags)
    names = {checkpoint.checkpoint_name(part) for part in PARTS} | {"export.json"}
    assert {path.name for path in (tmp_path / "o").iterdir()} == names
    code = "import sys, torch; print(torch.load(sys.argv[1], weights_only=True)['license'])"
    done = reference.run("-c", code, tmp_path / "o" / "vqvae.pth.tar")
    assert json.loads(done.stdout) == "CC0-1.0"
