"""Weights of others into a bundle: nothing lost, nothing accepted that does not fit.

What needs PyTorch is slow and runs in an environment of its own.
"""

import importlib.util
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jukejax.common import files
from jukejax.weights import bundle, stream
from jukejax.weights.huggingface import checkpoint as huggingface
from jukejax.weights.huggingface import config as huggingface_config
from jukejax.weights.mapping import Entry
from jukejax.weights.openai import parts, released
from tests.support import reference, small_bundle
from tests.support.command import run_in_process as run

PARTS = ("vqvae", "level_0", "level_1", "level_2")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, source):
    """The same model as Transformers keeps it."""
    folder = tmp_path_factory.mktemp("transformers")
    configs = small_bundle.configs()
    huggingface.write_model(folder, configs, lambda part: bundle.load_part(source / part)[1])
    return folder


def assert_same_weights(ours, theirs):
    ours, theirs = load_file(ours), load_file(theirs)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype, name
        assert ours[name].tobytes() == value.tobytes(), name


def test_every_weight_and_config_of_a_transformers_folder_arrives(tmp_path, source, model_folder):
    run("convert", "--from=huggingface", f"--input={model_folder}", f"--output={tmp_path / 'b'}")
    for part in PARTS:
        assert_same_weights(
            tmp_path / "b" / part / "weights.safetensors", source / part / "weights.safetensors"
        )
        told = files.read_json(tmp_path / "b" / part / "config.json")
        assert released.parse_description(told) == (part, small_bundle.configs()[part])
    model = bundle.open_bundle(tmp_path / "b")
    assert model["levels"] == [0, 1, 2]
    assert model["hops"] == [8, 32, 128]
    assert "Noncommercial" in model["license"]
    assert str(model_folder) in model["provenance"][0]


def test_tied_output_weights_may_be_missing(source, model_folder):
    states = huggingface.load_states(model_folder)
    del states["priors.0.prior.fc_proj_out.weight"]
    config = small_bundle.configs()["level_2"]
    state = huggingface.select_part(states, "level_2", config)
    np.testing.assert_array_equal(state["prior.x_out.weight"], state["prior.x_emb.weight"])
    parts.plan_part(config, state)


@pytest.mark.parametrize("lyrics", ["none", "single", "separate"])
def test_configs_survive_the_way_through_transformers(lyrics):
    configs = small_bundle.configs(lyrics)
    theirs = json.loads(json.dumps(huggingface_config.export_configs(configs)))
    assert huggingface_config.import_configs(theirs) == configs


def broken(folder, model_folder, change):
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
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path, model_folder, change, message):
    folder = broken(tmp_path / "broken", model_folder, change)
    done = run(
        "convert",
        "--from=huggingface",
        f"--input={folder}",
        f"--output={tmp_path / 'out'}",
        code=2,
    )
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_a_damaged_file_is_named(tmp_path, model_folder, damage):
    content = (model_folder / "model.safetensors").read_bytes()
    path = tmp_path / "model.safetensors"
    path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"hello " * 100)
    with pytest.raises(ValueError, match=rf"{path} is no safetensors file, or a truncated one"):
        stream.map_safetensors(path)


def entries_and_shapes(layers):
    entries = [Entry(f"layer.{i}.w", ("params", "w"), i, (1, 0)) for i in range(layers)]
    return entries, {"params": {"w": np.empty((layers, 4, 3))}}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_layers_are_stacked_and_keep_their_float_type(tmp_path, dtype):
    entries, shapes = entries_and_shapes(3)
    state = {e.name: np.random.default_rng(e.layer).random((3, 4)).astype(dtype) for e in entries}
    stream.write_safetensors(tmp_path / "w", stream.plan_leaves(entries, state, shapes), state)
    ((name, value),) = load_file(tmp_path / "w").items()
    assert name == "params/w"
    assert value.dtype == dtype
    np.testing.assert_array_equal(value, np.stack([x.T for x in state.values()]))


def test_another_float_type_can_be_asked_for(tmp_path):
    entries, shapes = entries_and_shapes(2)
    state = {e.name: np.full((3, 4), 0.1, np.float16) for e in entries}
    leaves = stream.plan_leaves(entries, state, shapes, dtype=np.float32)
    stream.write_safetensors(tmp_path / "w", leaves, state)
    np.testing.assert_array_equal(
        load_file(tmp_path / "w")["params/w"], np.full((2, 4, 3), np.float16(0.1), np.float32)
    )


def test_weights_that_should_be_tied_but_differ_are_refused():
    config = small_bundle.configs()["level_0"]
    state = parts.part_state(config, small_bundle.random_weights(config))
    state["prior.x_out.weight"] = state["prior.x_out.weight"] + 1
    with pytest.raises(ValueError, match=r"prior.x_emb.weight and prior.x_out.weight differ"):
        parts.plan_part(config, state)


def test_conditioners_are_read_under_both_of_their_names():
    config = small_bundle.configs()["level_0"]
    state = parts.part_state(config, small_bundle.random_weights(config))
    other = {name.replace(".blocks.", ".model."): value for name, value in state.items()}
    assert other.keys() != state.keys()
    assert {leaf.name for leaf in parts.plan_part(config, other)} == {
        leaf.name for leaf in parts.plan_part(config, state)
    }


@pytest.mark.parametrize(
    ("part", "variant"),
    [("level_2", "5b"), ("level_2", "small_sep_enc_dec_prior"), ("vqvae", "small_vqvae")],
)
def test_a_released_model_is_known_by_its_shapes(part, variant):
    files = {"5b": released.RELEASED}
    _, config = released.read_config(f"{files.get(variant, released.SMALL)}:{variant}")
    shapes = stream.foreign_shapes(parts.part_entries(config), parts.part_shapes(config))
    nothing = np.float32(0)
    state = {name: np.broadcast_to(nothing, shape) for name, shape in shapes.items()}
    state.popitem()  # one that is nearly right is still the nearest
    assert released.guess_variant(part, state) == (variant, config)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is there")
def test_without_torch_one_line_says_what_to_install(tmp_path):
    (tmp_path / "vqvae.pth.tar").write_bytes(b"")
    flags = ("--from=openai", f"--input={tmp_path}", f"--output={tmp_path / 'out'}")
    assert "pip install 'jukejax[convert]'" in run("convert", *flags, code=2).stderr


def test_a_full_bundle_is_not_overwritten(source, model_folder):
    flags = ("--from=huggingface", f"--input={model_folder}", f"--output={source}")
    assert "holds a bundle already" in run("convert", *flags, code=2).stderr


def test_names_come_from_the_lists_that_fit_and_priors_are_cast(tmp_path, model_folder):
    (tmp_path / "artists.txt").write_text("unknown;0\nanna;1\nben k;2\n")
    (tmp_path / "genres.txt").write_text("unknown;0\nhouse;1\n")
    lists = [f"--{what}_ids={tmp_path / what}s.txt" for what in ("artist", "genre")]
    flags = ("--from=huggingface", f"--input={model_folder}", f"--output={tmp_path / 'b'}")
    run("convert", *flags, *lists, "--dtype=bfloat16")
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
