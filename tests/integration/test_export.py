"""The `export` command: every format describes itself and computes what our models compute."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from jukejax.common import files
from jukejax.models.prior import Prior
from jukejax.models.vqvae import VQVAE
from jukejax.weights import bundle, loading
from jukejax.weights.codec_identity import identify_codec
from jukejax.weights.openai import checkpoint
from jukejax.weights.part_configs import parse_description
from tests.support import reference, small_bundle
from tests.support.command import run, run_in_process

PARTS = ("vqvae", "level_0", "level_1", "level_2")
SAMPLES = 34 * 128


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("source"))


def export(source, kind, output, *more):
    run_in_process("export", f"--workdir={source}", f"--format={kind}", f"--output={output}", *more)
    return output


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


def compute_expected(source, configs):
    """Returns (inputs, outputs of our models) of every part in `configs`."""
    generator = np.random.default_rng(0)
    inputs, expected = {}, {}
    if "vqvae" in configs:
        audio = 0.3 * generator.standard_normal((1, SAMPLES, 1)).astype(np.float32)
        inputs["audio"] = audio
        weights = bundle.load_part(source / "vqvae")[1]
        variables = {"params": weights["params"], "codebook": weights["extra"]}
        apply = jax.jit(VQVAE(configs["vqvae"]).apply, static_argnames=("level", "method"))
        for level, codes in enumerate(apply(variables, audio, method=VQVAE.encode)):
            decoded = apply(variables, codes, level=level, method=VQVAE.decode)
            expected |= {f"codes_{level}": codes, f"audio_{level}": decoded}
    for name in sorted(configs.keys() - {"vqvae"}, reverse=True):
        config = configs[name]
        facts = [44100 * 30, 0, config.sample_length, 1, 1, -1]
        lyrics = generator.integers(0, 20, config.num_lyrics)
        conditions = {"labels": np.concatenate([facts, lyrics]).astype(np.int32)[None]}
        music = generator.integers(0, 16, (1, config.seq_len)).astype(np.int32)
        if config.upper is not None:
            upper = generator.integers(0, 16, (1, config.seq_len // 4), np.int32)
            conditions["upper_codes"] = inputs[f"upper_{config.level}"] = upper
        inputs |= {f"music_{config.level}": music, f"labels_{config.level}": conditions["labels"]}
        params = {"params": bundle.load_part(source / name)[1]["params"]}
        predict = jax.jit(Prior(config).apply)
        expected[f"logits_{config.level}"] = predict(params, music, **conditions)
    return inputs, expected


def assert_equal(outputs, expected):
    """Codes exactly, everything else to 1e-5 of its scale."""
    for name, value in expected.items():
        if name.startswith("codes"):
            np.testing.assert_array_equal(outputs[name], value, err_msg=name)
        else:
            atol = 1e-5 * float(np.abs(value).max())
            np.testing.assert_allclose(outputs[name], value, rtol=0, atol=atol, err_msg=name)


ALONE = """
import sys
folder, arguments, output, *levels = sys.argv[1:]
import jax, numpy as np
from safetensors.numpy import load_file
inputs = dict(np.load(arguments))

def load(part, name):
    content = open(f"{folder}/{part}/{name}.stablehlo", "rb").read()
    exported = jax.export.deserialize(bytearray(content))
    assert set(exported.platforms) == {"cpu", "cuda", "tpu"}, exported.platforms
    return exported.call

outputs = {}
if "audio" in inputs:
    weights = load_file(f"{folder}/vqvae/weights.safetensors")
    codes = load("vqvae", "encode")(weights, inputs["audio"])
    for level, level_codes in enumerate(codes):
        outputs[f"codes_{level}"] = level_codes
        outputs[f"audio_{level}"] = load("vqvae", f"decode_level_{level}")(weights, level_codes)
for level in map(int, levels):
    part = f"level_{level}"
    weights = load_file(f"{folder}/{part}/weights.safetensors")
    conditions = {"labels": inputs[f"labels_{level}"]}
    if level < 2:
        conditions["upper_codes"] = inputs[f"upper_{level}"]
    music, begin = inputs[f"music_{level}"], 5
    state, tokens = load(part, "start")(weights, conditions, music, np.int32(begin))
    step, offset, logits = load(part, "step"), tokens.shape[1] - music.shape[1], []
    for position in range(offset + begin, offset + begin + 4):
        step_logits, state = step(weights, state, tokens[:, position - 1], np.int32(position))
        logits.append(step_logits)
    outputs[f"logits_{level}"] = np.stack(logits, axis=1)
assert not [name for name in sys.modules if name.startswith(("jukejax", "flax"))]
np.savez(output, **outputs)
"""


@pytest.mark.skipif(importlib.util.find_spec("flatbuffers") is None, reason="needs flatbuffers")
@pytest.mark.parametrize(
    ("lyrics", "levels"),
    [
        ("single", (1, 2)),
        pytest.param("single", (0, 1, 2), marks=pytest.mark.slow),
        pytest.param("separate", (2,), marks=pytest.mark.slow),
    ],
)
def test_stablehlo_computes_the_same_without_our_code(tmp_path, lyrics, levels):
    """Compares the outputs of every exported program with those of the package.

    The VQ-VAE's programs are always exported.
    """
    source = small_bundle.write(tmp_path / "source", lyrics, levels=levels)
    output = export(source, "stablehlo", tmp_path / "hlo", f"--seconds={SAMPLES / 44100}")
    parts = ("vqvae", *(f"level_{level}" for level in levels))
    configs = {part: small_bundle.configs(lyrics)[part] for part in parts}
    inputs, expected = compute_expected(source, configs)
    np.savez(tmp_path / "inputs.npz", **inputs)
    paths = (output, tmp_path / "inputs.npz", tmp_path / "outputs.npz")
    command = [sys.executable, "-c", ALONE, *map(str, (*paths, *levels))]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    expected = {k: v[:, 5:9] if k.startswith("logits") else v for k, v in expected.items()}
    assert_equal(np.load(tmp_path / "outputs.npz"), expected)
    assert files.read_json(output / "export.json")["license"] == "CC0-1.0"
    if 1 in levels:
        signatures = files.read_json(output / "level_1" / "signatures.json")
        assert signatures["start"][0] == {"labels": "int32[1, 6]", "upper_codes": "int32[1, 16]"}


# ------------------------------------------------------------------------------- with Transformers

TRANSFORMERS = """
import sys
import numpy as np, torch
from transformers.models.deprecated.jukebox.modeling_jukebox import JukeboxModel
folder, arguments, output = sys.argv[1:]
model, report = JukeboxModel.from_pretrained(folder, output_loading_info=True)
assert not any(report.values()), report
model.eval()
inputs = dict(np.load(arguments))
outputs = {}
with torch.no_grad():
    for level, codes in enumerate(model.vqvae.encode(torch.tensor(inputs["audio"]))):
        outputs[f"codes_{level}"] = codes.numpy()
        audio = model.vqvae.decode([codes], start_level=level, end_level=level + 1)
        outputs[f"audio_{level}"] = audio.numpy()
    for level in (2, 1, 0):
        prior = model.priors[2 - level]
        music, labels = (torch.tensor(inputs[f"{x}_{level}"]).long() for x in ("music", "labels"))
        count = prior.nb_relevant_lyric_tokens
        lyrics = labels[:, labels.shape[1] - count :]
        start, added = prior.metadata_embedding(labels[:, : labels.shape[1] - count])
        if level < 2:
            added = prior.conditioner_blocks(torch.tensor(inputs[f"upper_{level}"]).long(), None)
        states = None
        if prior.is_encoder_decoder:
            music = torch.cat([lyrics, music + prior.embed_dim_shift[1]], 1)
            added = torch.nn.functional.pad(added, (0, 0, count, 0))
        elif count:
            states = prior.get_encoder_states(lyrics)
        _, logits = prior.prior(music, added, start, states, get_preds=True)
        length = inputs[f"music_{level}"].shape[1]
        outputs[f"logits_{level}"] = logits[:, logits.shape[1] - length :].numpy()
np.savez(output, **outputs)
"""


@pytest.mark.slow
@pytest.mark.parametrize("lyrics", ["none", "single", "separate"])
def test_transformers_loads_the_export_and_computes_the_same(tmp_path, lyrics):
    source = small_bundle.write(tmp_path / "source", lyrics)
    output = export(source, "huggingface", tmp_path / "theirs")
    inputs, expected = compute_expected(source, small_bundle.configs(lyrics))
    np.savez(tmp_path / "inputs.npz", **inputs)
    reference.run("-c", TRANSFORMERS, output, tmp_path / "inputs.npz", tmp_path / "outputs.npz")
    assert_equal(np.load(tmp_path / "outputs.npz"), expected)


@pytest.mark.slow
def test_openai_files_hold_license_and_provenance(tmp_path, source):
    flags = (f"--workdir={source}", "--format=openai", f"--output={tmp_path / 'o'}")
    reference.verb("export", *flags)
    names = {checkpoint.checkpoint_name(part) for part in PARTS} | {"export.json"}
    assert {path.name for path in (tmp_path / "o").iterdir()} == names
    code = "import sys, torch; print(torch.load(sys.argv[1], weights_only=True)['license'])"
    done = reference.run("-c", code, tmp_path / "o" / "vqvae.pth.tar")
    assert json.loads(done.stdout) == "CC0-1.0"
