"""Exports without our code: StableHLO alone and Transformers compute what our models compute."""

import importlib.util
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jukejax.common import files
from jukejax.models.prior import Prior
from jukejax.models.vqvae import VQVAE
from jukejax.weights import bundle
from tests.support import reference, small_bundle
from tests.support.exporting import export

SAMPLES = 34 * 128
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


@pytest.mark.slow
@pytest.mark.parametrize("lyrics", ["none", "single", "separate"])
def test_transformers_loads_the_export_and_computes_the_same(tmp_path, lyrics):
    source = small_bundle.write(tmp_path / "source", lyrics)
    output = export(source, "huggingface", tmp_path / "theirs")
    inputs, expected = compute_expected(source, small_bundle.configs(lyrics))
    np.savez(tmp_path / "inputs.npz", **inputs)
    reference.run("-c", TRANSFORMERS, output, tmp_path / "inputs.npz", tmp_path / "outputs.npz")
    assert_equal(np.load(tmp_path / "outputs.npz"), expected)
