"""The `convert` command: every weight and config arrives, and what does not fit is refused.

Tests that need PyTorch are slow and run in an environment of their own.
"""

import importlib.util

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jukejax.common import extras, files
from jukejax.weights import bundle
from jukejax.weights.huggingface import checkpoint as huggingface
from jukejax.weights.part_configs import parse_description
from tests.support import reference, small_bundle
from tests.support.command import run, run_in_process

PARTS = ("vqvae", "level_0", "level_1", "level_2")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, source):
    """The same model in the layout of Transformers."""
    folder = tmp_path_factory.mktemp("transformers")
    configs = small_bundle.configs()
    huggingface.write_model(folder, configs, lambda part: bundle.load_part(source / part)[1])
    return folder


def assert_same_weights(path, expected_path):
    tensors, expected = load_file(path), load_file(expected_path)
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert tensors[name].dtype == value.dtype, name
        assert tensors[name].tobytes() == value.tobytes(), name


def test_every_weight_and_config_of_a_transformers_folder_arrives(tmp_path, source, model_folder):
    run_in_process(
        "convert", "--from=huggingface", f"--input={model_folder}", f"--output={tmp_path / 'b'}"
    )
    for part in PARTS:
        assert_same_weights(
            tmp_path / "b" / part / "weights.safetensors", source / part / "weights.safetensors"
        )
        description = files.read_json(tmp_path / "b" / part / "config.json")
        assert parse_description(description) == (part, small_bundle.configs()[part])
    model = bundle.open_bundle(tmp_path / "b")
    assert model["levels"] == [0, 1, 2]
    assert model["hops"] == [8, 32, 128]
    assert "Noncommercial" in model["license"]
    described = files.read_json(tmp_path / "b" / "level_2" / "config.json")["vqvae"]
    assert model["vqvae"] == described
    assert described["codes_hash"] == small_bundle.identify_vqvae()["codes_hash"]
    assert str(model_folder) in model["provenance"][0]


def write_broken(folder, model_folder, change):
    """A copy of the model folder with other tensors."""
    folder.mkdir()
    tensors = load_file(model_folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text((model_folder / "config.json").read_text())
    return folder


NAME = "priors.2.prior.transformer._attn_mods.1.mlp.c_fc.weight"
OPENAI_NAME = "prior.transformer._attn_mods.1.mlp.c_fc.w"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(NAME), f"lacks the tensor {NAME}"),
        (
            lambda tensors: tensors.update({NAME: np.zeros((16, 15), np.float32)}),
            f"tensor {OPENAI_NAME} has shape (16, 15), expected (16, 16)",
        ),
        (
            lambda tensors: tensors.update({"priors.2.extra": np.zeros(1, np.float32)}),
            "holds priors.2.extra, which this model does not have",
        ),
        (
            lambda tensors: tensors.update({NAME: np.zeros((16, 16), np.float64).astype("?")}),
            f"tensor {OPENAI_NAME} is of type bool, expected floats",
        ),
    ],
    ids=["missing", "misshapen", "unknown", "no float"],
)
def test_a_wrong_tensor_is_named_and_nothing_is_written(tmp_path, model_folder, change, message):
    folder = write_broken(tmp_path / "broken", model_folder, change)
    flags = ("--from=huggingface", f"--input={folder}", f"--output={tmp_path / 'out'}")
    done = run_in_process("convert", *flags, code=2)
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is there")
def test_without_torch_the_error_tells_what_to_install(tmp_path):
    (tmp_path / "vqvae.pth.tar").write_bytes(b"")
    flags = ("--from=openai", f"--input={tmp_path}", f"--output={tmp_path / 'out'}")
    assert extras.format_install("convert") in run_in_process("convert", *flags, code=2).stderr


def test_a_bundle_is_not_overwritten(source, model_folder):
    """In a process of its own, as the only one of the tests here."""
    flags = ("--from=huggingface", f"--input={model_folder}", f"--output={source}")
    assert "holds a bundle already" in run("convert", *flags, code=2).stderr


def test_a_finished_conversion_is_not_repeated_and_other_options_are_refused(
    tmp_path, model_folder
):
    flags = ("--from=huggingface", f"--input={model_folder}", f"--output={tmp_path / 'b'}")
    first = run_in_process("convert", *flags).stdout
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")}
    assert run_in_process("convert", *flags).stdout == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")} == stamps
    done = run_in_process("convert", *flags, "--dtype=float16", code=2)
    assert "holds a bundle already" in done.stderr


def test_names_come_from_the_fitting_lists_and_priors_are_cast(tmp_path, model_folder):
    (tmp_path / "artists.txt").write_text("unknown;0\nanna;1\nben k;2\n")
    (tmp_path / "genres.txt").write_text("unknown;0\nhouse;1\n")
    lists = [f"--{what}_ids={tmp_path / what}s.txt" for what in ("artist", "genre")]
    flags = ("--from=huggingface", f"--input={model_folder}", f"--output={tmp_path / 'b'}")
    run_in_process("convert", *flags, *lists, "--dtype=bfloat16")
    model = bundle.open_bundle(tmp_path / "b")
    assert model["vocabulary"]["artists"] == {"unknown": 0, "anna": 1, "ben k": 2}
    assert model["vocabulary"]["genres"] == {"unknown": 0, "house": 1}
    types = {
        part: {
            str(x.dtype) for x in load_file(tmp_path / "b" / part / "weights.safetensors").values()
        }
        for part in PARTS
    }
    assert types == {part: {"bfloat16"} for part in PARTS} | {"vqvae": {"float32", "bool"}}


# ------------------------------------------------------------------------------------ with PyTorch

RESAVE = """
import sys, torch
source, target, how = sys.argv[1:]
content = torch.load(source, weights_only=True)
model = content["model"]
if "half" in how:
    model = {k: v.half() for k, v in model.items()}
if "module" in how:
    model = {"module." + k: v for k, v in model.items()}
if "missing" in how:
    del model[next(k for k in model if k.endswith("c_fc.w"))]
if "misshapen" in how:
    model[next(k for k in model if k.endswith("c_fc.w"))] = torch.zeros(3, 5)
torch.save({"model": model, "step": 7}, target, _use_new_zipfile_serialization="old" not in how)
"""
COMPARE = """
import sys, torch
ours, theirs = (torch.load(path, weights_only=True)["model"] for path in sys.argv[1:])
assert list(ours) == list(theirs)
for name in ours:
    assert ours[name].dtype == theirs[name].dtype, name
    assert ours[name].numpy().tobytes() == theirs[name].numpy().tobytes(), name
print(len(ours))
"""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, source):
    """OpenAI's files of the small model, made by export."""
    folder = tmp_path_factory.mktemp("openai") / "files"
    reference.verb("export", f"--workdir={source}", "--format=openai", f"--output={folder}")
    return folder


def resave(checkpoints, folder, how):
    folder.mkdir()
    for path in checkpoints.iterdir():
        if path.suffix == ".json":
            (folder / path.name).write_text(path.read_text())
        else:
            reference.run("-c", RESAVE, path, folder / path.name, how)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", ["zip", "old module", "half module"])
def test_openai_checkpoints_survive_the_round_trip_byte_for_byte(tmp_path, checkpoints, how):
    folder = resave(checkpoints, tmp_path / "theirs", how)
    there, back = tmp_path / "bundle", tmp_path / "back"
    reference.verb("convert", "--from=openai", f"--input={folder}", f"--output={there}")
    reference.verb("export", f"--workdir={there}", "--format=openai", f"--output={back}")
    plain = resave(checkpoints, tmp_path / "plain", how.replace("module", "").strip())
    for path in back.glob("*.pth.tar"):
        reference.run("-c", COMPARE, path, plain / path.name)
    assert bundle.open_bundle(there)["license"] == "CC0-1.0"
    assert bundle.open_bundle(there)["vocabulary"] == small_bundle.VOCABULARY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "prior_level_2.pth.tar: the checkpoint lacks the tensor prior.transformer"),
        ("misshapen", "mlp.c_fc.w has shape (3, 5), expected (16, 16)"),
        ("truncated", "prior_level_2.pth.tar is no checkpoint of PyTorch, or a truncated one"),
        ("old truncated", "prior_level_2.pth.tar is no checkpoint of PyTorch, or a truncated one"),
        ("text", "prior_level_2.pth.tar is no checkpoint of PyTorch, or a truncated one"),
    ],
)
def test_a_bad_checkpoint_is_named_and_nothing_is_written(tmp_path, checkpoints, how, message):
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "export.json").write_text((checkpoints / "export.json").read_text())
    path = folder / "prior_level_2.pth.tar"
    reference.run("-c", RESAVE, checkpoints / path.name, path, how)
    if "truncated" in how:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if how == "text":
        path.write_text("not a checkpoint\n" * 50)
    flags = ("--from=openai", f"--input={folder}", f"--output={tmp_path / 'out'}")
    done = reference.verb("convert", *flags, code=2)
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
