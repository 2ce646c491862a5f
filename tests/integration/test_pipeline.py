"""The whole pipeline at the smallest size, by its commands: from music to generated tracks.

The commands run in this process, save those that are killed. The default run trains all but the
finest level, whose prior differs from that of level 1 by its hop length alone.
"""

import json
import shutil
import signal

import numpy as np
import pytest
import soundfile

from jukejax.weights import checkpoints
from tests.support.command import run_in_process, stop_when
from tests.support.preparation import prepare
from tests.support.trees import assert_same_state

STAGES = ("vqvae", "prior", "upsampler1")
STEPS = {"vqvae": 6, "prior": 12, "upsampler1": 12}
SECONDS = 0.4  # of music: three windows of the top level


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Runs all stages once; returns the folder of audio, codes, the four workdirs and model."""
    root = tmp_path_factory.mktemp("pipeline")
    audio, codes, model = root / "audio", root / "codes", root / "model"
    prepare("--input=house", "--house_tracks=4", "--house_seconds=5", f"--output={audio}")
    train(root, "vqvae")
    run_in_process("encode", f"--vqvae={root / 'vqvae'}", f"--input={audio}", f"--output={codes}")
    for stage in STAGES[1:]:
        train(root, stage)
    export(root, STAGES, model)
    return root


@pytest.fixture(scope="module")
def all_levels(pipeline):
    """The folder of `pipeline`, whose model_of_all_levels has a prior for level 0 too."""
    train(pipeline, "upsampler0")
    export(pipeline, (*STAGES, "upsampler0"), pipeline / "model_of_all_levels")
    return pipeline


def export(root, stages, output):
    workdirs = ",".join(str(root / stage) for stage in stages)
    run_in_process("export", f"--workdir={workdirs}", f"--output={output}")


def train_flags(root, stage, workdir=None):
    data = root / ("audio" if stage == "vqvae" else "codes")
    return (
        f"--config=tests/support/smallest_config.py:{stage}",
        f"--config.data.folder={data}",
        f"--workdir={workdir or root / stage}",
    )


def train(root, stage, workdir=None):
    return run_in_process("train", *train_flags(root, stage, workdir))


def sample_flags(pipeline, output, *more, model="model"):
    return (
        f"--model={pipeline / model}",
        f"--seconds={SECONDS}",
        "--num_samples=2",
        f"--output={output}",
        *more,
    )


def read_codes(folder, item=0):
    with np.load(folder / f"item_{item:03d}" / "codes.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def sampled(pipeline, tmp_path_factory):
    """Two tracks with seed 3 and their page."""
    output = tmp_path_factory.mktemp("sampled") / "out"
    run_in_process("sample", *sample_flags(pipeline, output, "--seed=3"))
    return output


def leave_out_pages(monkeypatch):
    """Leaves out the pages, which `sampled` has."""
    monkeypatch.setattr("jukejax.pages.report.write_sample_page", lambda folder: None)


def test_every_stage_leaves_what_the_next_needs(pipeline):
    for stage in STAGES:
        summary = json.loads((pipeline / stage / "summary.json").read_text())
        steps = STEPS[stage]
        assert summary["steps"] == steps
        rows = [
            json.loads(x) for x in (pipeline / stage / "metrics.jsonl").read_text().splitlines()
        ]
        assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, steps + 1))
        assert rows[0]["learning_rate"] == 0.0
    model = json.loads((pipeline / "model" / "model.json").read_text())
    assert model["levels"] == [1, 2]
    assert model["hops"] == [8, 32, 128]
    assert len(model["vocabulary"]["genres"]) > 1


def test_sampling_depends_on_the_seed(pipeline, sampled, tmp_path, monkeypatch):
    leave_out_pages(monkeypatch)
    run_in_process("sample", *sample_flags(pipeline, tmp_path, "--seed=4", "--levels=2"))
    first, other = read_codes(sampled), read_codes(tmp_path)
    assert not np.array_equal(first["level_2"], other["level_2"])
    assert not np.array_equal(first["level_2"], read_codes(sampled, 1)["level_2"])


def test_sampling_generates_all_levels_of_the_model(sampled):
    check_levels(sampled, levels=(2, 1))


@pytest.mark.slow
def test_sampling_generates_the_finest_level(all_levels, tmp_path):
    flags = sample_flags(all_levels, tmp_path, "--seed=3", model="model_of_all_levels")
    run_in_process("sample", *flags)
    check_levels(tmp_path, levels=(2, 1, 0))


def check_levels(folder, levels):
    """Checks lengths of codes and sound, meta.json and the page; the seed must be 3."""
    top = -(-int(SECONDS * 44100) // 128)
    assert {name: len(codes) for name, codes in read_codes(folder).items()} == {
        f"level_{level}": top * 4 ** (2 - level) for level in levels
    }
    for level in levels:
        sound, rate = soundfile.read(folder / "item_000" / f"level_{level}.wav")
        assert rate == 44100
        assert sound.shape == (top * 128,)
        assert np.abs(sound).max() > 0
    meta = json.loads((folder / "item_001" / "meta.json").read_text())
    assert meta["seed"] == 3
    assert (folder / "index.html").exists()


@pytest.mark.slow
def test_a_killed_sampling_resumes_with_the_same_result(all_levels, tmp_path):
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"

    def flags(output):
        return sample_flags(all_levels, output, model="model_of_all_levels")

    run_in_process("sample", *flags(uninterrupted))
    partial = killed / "item_001" / "codes.npz"

    def is_in_the_middle_of_level_1():
        try:
            return 128 < len(read_codes(killed, 1)["level_1"]) < 4 * 120
        except (OSError, KeyError):
            return False

    code = stop_when("sample", *flags(killed), ready=is_in_the_middle_of_level_1)
    assert code == -signal.SIGKILL
    assert partial.exists()
    run_in_process("sample", *flags(killed))
    for item in range(2):
        for name, codes in read_codes(uninterrupted, item).items():
            np.testing.assert_array_equal(codes, read_codes(killed, item)[name])
        for level in range(3):
            file = f"item_{item:03d}/level_{level}.wav"
            assert (uninterrupted / file).read_bytes() == (killed / file).read_bytes()


@pytest.mark.slow  # tests/integration/test_sample.py has prompts without the command
def test_a_prompt_survives_at_the_start_of_every_level(all_levels, tmp_path):
    prompt = tmp_path / "prompt.wav"
    time = np.arange(20000) / 44100
    soundfile.write(prompt, 0.3 * np.sin(2 * np.pi * 220 * time), 44100)
    flags = ("--mode=primed", f"--prompt={prompt}", "--prompt_seconds=0.3")
    for folder, seed in (("a", 1), ("b", 2)):
        more = (*flags, f"--seed={seed}")
        output = tmp_path / folder
        run_in_process(
            "sample", *sample_flags(all_levels, output, *more, model="model_of_all_levels")
        )
    first, other = read_codes(tmp_path / "a"), read_codes(tmp_path / "b")
    prompt_codes = int(0.3 * 44100) // 128
    for name, ratio in (("level_2", 1), ("level_1", 4), ("level_0", 16)):
        np.testing.assert_array_equal(
            first[name][: prompt_codes * ratio], other[name][: prompt_codes * ratio]
        )
        assert not np.array_equal(
            first[name][prompt_codes * ratio :], other[name][prompt_codes * ratio :]
        )


def test_upsampling_keeps_the_top_level_of_the_input_codes(
    pipeline, sampled, tmp_path, monkeypatch
):
    leave_out_pages(monkeypatch)
    flags = ("--mode=upsample", f"--codes={sampled / 'item_000' / 'codes.npz'}", "--levels=1")
    run_in_process("sample", *sample_flags(pipeline, tmp_path, *flags))
    before, after = read_codes(sampled), read_codes(tmp_path)
    np.testing.assert_array_equal(before["level_2"], after["level_2"])
    assert len(after["level_1"]) == 4 * len(before["level_2"])


@pytest.mark.parametrize("stage", [pytest.param("vqvae", marks=pytest.mark.slow), "prior"])
def test_a_killed_run_ends_with_the_same_bits(pipeline, tmp_path, stage):
    workdir = tmp_path / stage
    step = 5  # after a checkpoint

    def has_reached_step():
        path = workdir / "metrics.jsonl"
        return path.exists() and f'"step": {step},' in path.read_text()

    flags = train_flags(pipeline, stage, workdir)
    assert stop_when("train", *flags, ready=has_reached_step) == -signal.SIGKILL
    run_in_process("train", *flags)
    assert_same_state(checkpoints.read_state(workdir), checkpoints.read_state(pipeline / stage))


@pytest.mark.slow  # test_distributed.py stops two processes so
def test_sigterm_saves_a_checkpoint_and_exits_with_143(pipeline, tmp_path):
    workdir = tmp_path / "run"
    flags = (*train_flags(pipeline, "prior", workdir), "--config.steps=100000")

    def has_begun():
        path = workdir / "metrics.jsonl"
        return path.exists() and '"step": 5,' in path.read_text()

    assert stop_when("train", *flags, ready=has_begun, with_signal=signal.SIGTERM) == 143
    state = checkpoints.read_state(workdir)
    steps = [json.loads(x)["step"] for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert int(state["step"]) == max(steps)


def test_bad_input_is_reported_in_one_line(pipeline, tmp_path):
    model = pipeline / "model"
    cases = [
        ("sample", (f"--model={tmp_path}", f"--output={tmp_path / 'x'}"), "no model bundle"),
        ("sample", (f"--model={model}", f"--output={tmp_path / 'x'}", "--genre=polka",
                    "--levels=2"), "polka"),
        ("sample", (f"--model={model}", f"--output={tmp_path / 'x'}", "--seconds=-1"), "seconds"),
        ("encode", (f"--vqvae={pipeline / 'prior'}", f"--input={pipeline / 'audio'}",
                    f"--output={tmp_path / 'x'}"), "vqvae"),
        ("encode", (f"--vqvae={pipeline / 'vqvae'}", f"--input={pipeline / 'codes'}",
                    f"--output={tmp_path / 'x'}"), "codes"),
        ("train", (*train_flags(pipeline, "prior"), "--config.seed=1"), "config.seed"),
        ("train", (*train_flags(pipeline, "prior", tmp_path / "y"), "--config.model.level=1"),
         "level"),
        ("export", (f"--workdir={pipeline / 'prior'}", f"--output={tmp_path / 'x'}"), "VQ-VAE"),
    ]  # fmt: skip
    for verb, flags, word in cases:
        error = run_in_process(verb, *flags, code=2).stderr
        lines = [line for line in error.splitlines() if line]
        assert len(lines) == 1, error
        assert lines[0].startswith("error: ")
        assert word in lines[0], lines[0]


def test_a_damaged_bundle_is_named(pipeline, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(pipeline / "model", copy)
    weights = copy / "level_2" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    error = run_in_process("sample", f"--model={copy}", f"--output={tmp_path / 'x'}", code=2).stderr
    assert "level_2" in error
    assert "damaged" in error
