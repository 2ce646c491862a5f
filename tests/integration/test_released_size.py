"""Checkpoints of the released models at their true size, of random weights: converted and sampled.

Shapes are those that OpenAI's own code builds (tests/golden/released_state_dict_keys.json.gz).
"""

import gzip
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest

from jukejax.data.codes_file import read_codes_file
from jukejax.weights import bundle, conversion
from jukejax.weights.openai import parts, released
from tests.support import reference
from tests.support.command import GOLDEN, run, run_in_process
from tests.support.torch_archive import write_archive

GB = 2**30
KEYS = {"vqvae": "vqvae", "level_0": "upsampler_level_0", "level_1": "upsampler_level_1"}
MEASURE = """
import resource, sys
from jukejax import convert
sys.argv[0] = "convert"
try:
    convert.start(sys.argv)
except SystemExit as ended:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the conversion: {peak:.1f} GiB")
    raise
"""


def read_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Reads the shapes of a released model by tensor; types at the end of a shape are dropped."""
    with gzip.open(GOLDEN / "released_state_dict_keys.json.gz") as file:
        table = json.load(file)[name]
    return {k: tuple(x for x in shape if isinstance(x, int)) for k, shape in table.items()}


def write_part(folder, part: str, model: str, *, dtype: str = "float32"):
    """Writes a part of a released model under OpenAI's name; returns its path."""
    shapes = read_shapes(KEYS.get(part, f"prior_{model}"))
    _, config = released.read_config("{}:{}".format(*released.MODELS[model][part]))
    first, ties = {}, {}
    for entry in parts.part_entries(config, shapes):
        owner = first.setdefault((entry.path, entry.layer), entry.name)
        if owner != entry.name:
            ties[entry.name] = owner
    order = sorted(shapes, key=lambda name: name in ties)
    path = folder / f"{part if part == 'vqvae' else f'prior_{part}'}.pth.tar"
    write_archive(path, {name: shapes[name] for name in order}, ties=ties, dtype=dtype)
    return path


def convert(folder, *inputs):
    """Converts files where PyTorch is; returns the bundle and prints the peak memory."""
    files = ",".join(map(str, inputs))
    done = reference.run(
        *("-c", MEASURE, "--from=openai", f"--input={files}", f"--output={folder}"), ours=True
    )
    print(done.stdout)
    return folder


def require(free_disk: float, free_memory: float, folder):
    """Skips a test on a machine with less space, in GiB."""
    disk, memory = shutil.disk_usage(folder).free / GB, psutil.virtual_memory().available / GB
    if disk < free_disk or memory < free_memory:
        pytest.skip(
            f"needs {free_disk} GiB of disk and {free_memory} GiB of memory; there are "
            f"{disk:.0f} and {memory:.0f}"
        )


@pytest.mark.slow
def test_1b_lyrics_is_converted_loaded_and_sampled(tmp_path):
    """The VQ-VAE and the top prior; the window is a partial one, of 69 codes."""
    require(10, 12, tmp_path)
    inputs = [write_part(tmp_path, part, "1b_lyrics") for part in ("vqvae", "level_2")]
    model = convert(tmp_path / "model", *inputs)
    assert bundle.open_bundle(model)["levels"] == [2]
    output = tmp_path / "samples"
    flags = ("--levels=2", "--seconds=0.2", "--total_seconds=60", f"--output={output}")
    run("sample", f"--model={model}", *flags)
    codes = read_codes_file(output / "item_000" / "codes.npz")
    assert codes[2].shape == (69,)
    assert (output / "item_000" / "level_2.wav").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["level_0", "level_1"])
def test_upsamplers_are_converted(tmp_path, part):
    require(10, 6, tmp_path)
    inputs = [write_part(tmp_path, name, "5b", dtype="float16") for name in ("vqvae", part)]
    assert bundle.open_bundle(convert(tmp_path / "model", *inputs))["levels"] == [int(part[-1])]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["5b", "5b_lyrics"])
def test_the_5b_models_are_converted(tmp_path, model):
    """In float16, tensor by tensor: memory does not grow with the model."""
    require(26, 6, tmp_path)
    inputs = [write_part(tmp_path, part, model, dtype="float16") for part in ("vqvae", "level_2")]
    assert bundle.open_bundle(convert(tmp_path / "model", *inputs))["levels"] == [2]


# -- Without PyTorch ---------------------------------------------------------------------------


class _Reader(pickle.Unpickler):
    """Reads the pickle of an archive as [(storage key, shape, strides)]."""

    def persistent_load(self, pid):
        return pid[2]

    def find_class(self, module, name):
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, shape, strides, *rest: (storage, shape, strides)
        return super().find_class(module, name) if module == "collections" else name


def test_an_archive_holds_every_tensor_once(tmp_path):
    path = tmp_path / "a.pth.tar"
    shapes = {"x": (3, 4), "y": (5,), "z": (3, 4)}
    write_archive(path, shapes, ties={"z": "x"}, dtype="float16")
    with zipfile.ZipFile(path) as archive:
        model = _Reader(archive.open("archive/data.pkl")).load()["model"]
        assert model == {"x": ("0", (3, 4), (4, 1)), "y": ("1", (5,), (1,)), "z": model["x"]}
        x = np.frombuffer(archive.read("archive/data/0"), np.float16)
        assert (x.shape, len(archive.read("archive/data/1"))) == ((12,), 10)
        assert 0.005 < x.std() < 0.05


@pytest.mark.parametrize(
    ("names", "kind"),
    [(["encoders.0"], "a VQ-VAE"), (["conditioner_blocks.0", "prior.x_emb"], "an upsampler")],
)
def test_the_file_of_another_part_is_named_in_one_line(names, kind):
    _, config = released.read_config("{}:{}".format(*released.MODELS["1b_lyrics"]["level_2"]))
    message = f"a.pth.tar holds {kind}, but level_2 is a top prior here; give the file of that part"
    with pytest.raises(ValueError, match=f"^{message}$"):
        conversion._check_kind("level_2", Path("a.pth.tar"), config, dict.fromkeys(names))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n<!DOCTYPE html><html>Not found", "is a web page, and no checkpoint; download the"),
        (b"PK\x03\x04" + bytes(100), "or a truncated one: its 104 bytes lack the end"),
    ],
    ids=["web page", "truncated"],
)
def test_a_failed_download_is_named_in_one_line(tmp_path, content, message):
    path = tmp_path / "prior_level_2.pth.tar"
    path.write_bytes(content)
    flags = ("--from=openai", f"--input={path}", f"--output={tmp_path / 'out'}")
    (line,) = run_in_process("convert", *flags, code=2).stderr.splitlines()
    assert str(path) in line
    assert message in line
