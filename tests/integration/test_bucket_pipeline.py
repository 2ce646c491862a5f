"""All commands, one after the other: what they write to a bucket is what they write to a folder."""

import json

import numpy as np
import pytest

from jukejax.common import mirrors
from jukejax.data.sample_items import MEASURED
from jukejax.weights import checkpoints
from tests.support.bucket_files import read_bucket, read_folder, strip_fields
from tests.support.command import run_in_process
from tests.support.object_server import BUCKET, Fault
from tests.support.preparation import prepare
from tests.support.trees import assert_same_state

URL = f"s3://{BUCKET}/pipeline"
TIMES = {*MEASURED, "seconds", "path", "provenance", "settings", "folder"}
FAULTS = (
    *(Fault(kind, "GET", "tfrecord|safetensors|npz", 3) for kind in ("503", "cut", "latency")),
    *(Fault(kind, "PUT", "", 3) for kind in ("dead", "503", "cut", "latency")),
)


def run_pipeline(root):
    """Runs the commands with all paths below `root`."""
    prepare("--input=house", "--house_tracks=4", "--house_seconds=5", f"--output={root}/audio")
    train(root, "vqvae", "audio")
    codes = (f"--input={root}/audio", f"--output={root}/codes")
    run_in_process("encode", f"--vqvae={root}/vqvae", *codes)
    train(root, "prior", "codes")
    workdirs = f"{root}/vqvae,{root}/prior"
    run_in_process("export", f"--workdir={workdirs}", f"--output={root}/model")
    flags = (f"--model={root}/model", "--levels=2", "--seconds=1.2")
    run_in_process("sample", *flags, f"--output={root}/takes")
    sets = (f"--input={root}/takes", f"--reference={root}/audio", "--bootstrap=10")
    run_in_process("evaluate", *sets, f"--model={root}/model", f"--output={root}/report")
    training = (f"--input={root}/takes", f"--training={root}/audio,{root}/codes")
    run_in_process("audit", *training, f"--vqvae={root}/vqvae", f"--output={root}/audit")


def train(root, stage, data):
    config = f"--config=tests/support/smallest_config.py:{stage}"
    run_in_process(
        "train", config, f"--config.data.folder={root}/{data}", f"--workdir={root}/{stage}"
    )


@pytest.mark.slow
def test_the_commands_give_in_a_bucket_what_they_give_in_a_folder(object_server, tmp_path):
    run_pipeline(tmp_path)
    object_server.inject(*FAULTS)
    run_pipeline(URL)
    assert len(object_server.list_injected()) == sum(fault.count for fault in FAULTS)
    for name in ("audio", "codes", "model", "takes"):
        compare_files(read_bucket(f"{URL}/{name}"), read_folder(tmp_path / name))
    for name in ("report/evaluate.json", "audit/audit.json"):
        folder, _, file = name.partition("/")
        compare_json(read_bucket(f"{URL}/{folder}")[file], (tmp_path / name).read_bytes())
    for stage in ("vqvae", "prior"):
        workdir = mirrors.open_input(f"{URL}/{stage}")
        assert_same_state(checkpoints.read_state(workdir), checkpoints.read_state(tmp_path / stage))
    for name, content in read_bucket(URL).items():
        is_of_orbax = name.endswith("/commit_success.txt")
        assert is_of_orbax or b"/copies/process-" not in content, name


def compare_files(ours, theirs):
    kept = {name for name in theirs if ".work/" not in name and not name.endswith(".lock")}
    kept -= {name for name in kept if name.startswith("audit/")}  # a cache of the audited corpus
    assert {name for name in ours if ".work/" not in name} == kept
    for name in kept - {"index.html", "export.json"}:
        if name.endswith(".json"):
            compare_json(ours[name], theirs[name])
        else:
            assert ours[name] == theirs[name], name


def compare_json(ours, theirs):
    objects = [strip_fields(json.loads(content), TIMES) for content in (ours, theirs)]
    np.testing.assert_equal(*objects)
