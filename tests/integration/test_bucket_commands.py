"""Commands whose inputs and outputs are in a bucket give the files of local ones."""

import json

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load

from jukejax.common import mirrors, storage
from jukejax.data.sample_items import MEASURED
from jukejax.weights import bundle
from tests.support import small_bundle, small_codec
from tests.support.bucket_files import assert_same_files, read_bucket, read_folder, upload_folder
from tests.support.command import run_in_process
from tests.support.killed_sampling import Killed, kill_within_second_level
from tests.support.object_server import BUCKET, Fault
from tests.support.small_audio import write_audio

URL = f"s3://{BUCKET}"
FAULTS = (
    *(Fault(kind, "GET", "bundle|codes.npz", 2) for kind in ("503", "cut", "latency")),
    *(Fault(kind, "PUT", "", 3) for kind in ("dead", "503", "cut", "latency")),
    Fault("503", "GET", "list-type", 2),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none")


@pytest.fixture
def without_pages(monkeypatch):
    monkeypatch.setattr("jukejax.pages.report.write_sample_page", lambda folder: None)


@pytest.fixture
def requests(object_server, model, tmp_path, without_pages):
    """Requests of two modes: their place in the bucket, their flags, and what they give here."""
    source, url = tmp_path / "source", f"{URL}/{tmp_path.name}"
    run_in_process("sample", f"--model={model}", "--seconds=0.25", f"--output={source}")
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(np.arange(22050) / 16), 44100)
    places = {}
    for place in (url, str(tmp_path)):
        lines = [
            {"mode": "upsample", "codes": f"{place}/source/*/codes.npz", "levels": 1},
            {"mode": "primed", "prompt": f"{place}/tone.wav", "prompt_seconds": 0.1},
        ]
        path = tmp_path / "requests.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        if place.startswith("s3"):
            upload_folder(tmp_path, place)
            upload_folder(model, f"{place}/bundle")
        flags = ["--seconds=0.25", "--levels=2,1", f"--output={place}/out"]
        bundle = f"{place}/bundle" if place.startswith("s3") else model
        places[place] = [f"--model={bundle}", f"--requests={place}/requests.jsonl", *flags]
    run_in_process("sample", *places[str(tmp_path)])
    return url, places[url], read_folder(tmp_path / "out")


IGNORED = {*MEASURED, "codes", "prompt", "path"}


def test_sampling_in_a_bucket_is_that_of_a_folder_through_20_faults(requests, object_server):
    url, words, expected = requests
    object_server.inject(*FAULTS)
    done = run_in_process("sample", *words)
    assert done.stdout.endswith(f"2 tracks of 2 shapes: {url}/out/index.html\n")
    assert len(object_server.list_injected()) == sum(fault.count for fault in FAULTS) == 20
    files = read_bucket(f"{url}/out")
    assert_same_files(files, expected, IGNORED)
    assert f"{url}/tone.wav" in files["settings.json"].decode()


def test_a_killed_sampling_resumes_from_what_was_in_the_bucket(requests, monkeypatch):
    url, words, expected = requests
    with monkeypatch.context() as patch:
        kill_within_second_level(patch)
        patch.setattr(mirrors.Mirror, "push", lambda mirror: 0)  # as if killed
        with pytest.raises(Killed):
            run_in_process("sample", *words)
    begun = read_bucket(f"{url}/out")
    assert any(name.endswith("parts.npz") for name in begun)
    assert "index.html" not in begun
    run_in_process("sample", *words)
    assert_same_files(read_bucket(f"{url}/out"), expected, IGNORED)
    other = run_in_process("sample", *words, "--seed=9", code=2).stderr
    assert other.startswith(f"error: {url}/out was begun with seed=0 in request 0, not 9")


def test_encode_in_a_bucket_is_that_of_a_folder(object_server, tmp_path):
    write_audio(tmp_path / "audio", {"train": (3.0, 0.5), "heldout": (1.0,)})
    vqvae = tmp_path / "bundle" / "vqvae"
    bundle.save_part(vqvae, small_codec.DESCRIPTION, small_codec.weights())
    upload_folder(tmp_path, f"{URL}/encode")
    object_server.inject(Fault("dead", "PUT", "tfrecord", 2), Fault("cut", "GET", "tfrecord", 2))
    for place in (str(tmp_path), f"{URL}/encode"):
        flags = (f"--input={place}/audio", f"--output={place}/codes", "--offsets=2")
        done = run_in_process("encode", f"--vqvae={place}/bundle/vqvae", *flags)
        assert done.stdout.endswith(f"x real time: {place}/codes\n")
    assert len(object_server.list_injected()) == 4
    assert_same_files(read_bucket(f"{URL}/encode/codes"), without_lock(tmp_path / "codes"))
    again = run_in_process("encode", f"--vqvae={vqvae}", *flags)
    assert again.stdout == f"{URL}/encode/codes holds these codes already\n"


def without_lock(folder):
    return {name: v for name, v in read_folder(folder).items() if not name.endswith("lock")}


@pytest.mark.parametrize("kind", ["bundle", "safetensors"])
def test_export_in_a_bucket_is_that_of_a_folder(object_server, model, tmp_path, kind):
    source, local, url = f"{URL}/export/bundle", tmp_path / "out", f"{URL}/export/{kind}"
    upload_folder(model, source)
    run_in_process("export", f"--workdir={model}", f"--format={kind}", f"--output={local}")
    done = run_in_process("export", f"--workdir={source}", f"--format={kind}", f"--output={url}")
    assert done.stdout.endswith(f": {url}\n")
    ours, theirs = read_bucket(url), read_folder(local)
    for name in [name for name in theirs if name.endswith(".safetensors")]:
        ours[name], theirs[name] = (read_tensors(files[name]) for files in (ours, theirs))
    theirs = {name: rename(content, model, source) for name, content in theirs.items()}
    assert_same_files(ours, theirs)


def read_tensors(content):
    assert b"/copies/process-" not in content
    return b"".join(
        name.encode() + array.tobytes() for name, array in sorted(load(content).items())
    )


def rename(content, old, new):
    return content.replace(f"from {old}".encode(), f"from {new}".encode())


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--output=s3://nobucket/out", "--output=s3://nobucket/out cannot be reached: there is no"),
        ("--model=s3://nobucket/model", "s3://nobucket/model cannot be listed: there is no such"),
        (f"--model={URL}/nothing", f"{URL}/nothing"),
        ("--output=xx://bucket/out", "--output=xx://bucket/out cannot be reached"),
    ],
)
def test_what_is_not_in_a_bucket_is_named_in_one_line(object_server, flag, message, tmp_path):
    words = {"--model": "house", "--output": str(tmp_path / "x")} | dict([flag.split("=")])
    done = run_in_process("sample", *map("=".join, words.items()), "--seconds=0", code=2)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_missing_credentials_are_named_in_one_line(object_server, monkeypatch, tmp_path):
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()
    storage.make_filesystem.cache_clear()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    done = run_in_process("sample", "--model=house", f"--output={URL}/credentials", code=2)
    s3fs.S3FileSystem.clear_instance_cache()
    storage.make_filesystem.cache_clear()
    assert "Unable to locate credentials; set AWS_ACCESS_KEY_ID" in done.stderr
    assert done.stderr.count("\n") == 1


def test_projects_of_the_studio_stay_local(object_server):
    done = run_in_process("serve", f"--projects={URL}/projects", code=2)
    assert f"--projects={URL}/projects must be a local folder" in done.stderr
