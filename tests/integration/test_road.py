"""The whole road at the smallest size, by its commands: music in, a generated track out."""

import json
import shutil
import signal

import numpy as np
import pytest
import soundfile

from jukejax.weights import checkpoints
from tests.support.command import run, stop_when

STAGES = ("vqvae", "prior", "upsampler1", "upsampler0")


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """Folders of a road walked once: audio, vqvae, codes, priors, model."""
    root = tmp_path_factory.mktemp("road")
    audio, codes, model = root / "audio", root / "codes", root / "model"
    run(
        "prepare",
        "--input=house",
        "--house_tracks=4",
        "--house_seconds=8",
        "--separator=none",
        f"--output={audio}",
    )
    train(root, "vqvae")
    run("encode", f"--vqvae={root / 'vqvae'}", f"--input={audio}", f"--output={codes}")
    for stage in STAGES[1:]:
        train(root, stage)
    workdirs = ",".join(str(root / stage) for stage in STAGES)
    run("export", f"--workdir={workdirs}", f"--output={model}")
    return root


def train_flags(root, stage, workdir=None):
    data = root / ("audio" if stage == "vqvae" else "codes")
    return (
        f"--config=configs/tiny.py:{stage}",
        f"--config.data.folder={data}",
        f"--workdir={workdir or root / stage}",
    )


def train(root, stage, workdir=None):
    return run("train", *train_flags(root, stage, workdir))


def sample_flags(road, output, *more):
    return (
        f"--model={road / 'model'}",
        "--seconds=0.9",
        "--num_samples=2",
        f"--output={output}",
        *more,
    )


def codes_of(folder, item=0):
    with np.load(folder / f"item_{item:03d}" / "codes.npz") as file:
        return {name: file[name] for name in file.files}


def test_every_stage_leaves_what_the_next_needs(road):
    for stage in STAGES:
        summary = json.loads((road / stage / "summary.json").read_text())
        assert summary["steps"] == 12
        rows = [json.loads(x) for x in (road / stage / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 13))
        assert rows[0]["learning_rate"] == 0.0
    model = json.loads((road / "model" / "model.json").read_text())
    assert model["levels"] == [0, 1, 2]
    assert model["hops"] == [8, 32, 128]
    assert len(model["vocabulary"]["genres"]) > 1


def test_sampling_makes_all_levels_and_depends_on_the_seed_alone(road, tmp_path):
    run("sample", *sample_flags(road, tmp_path / "a", "--seed=3"))
    run("sample", *sample_flags(road, tmp_path / "b", "--seed=4"))
    first, other = codes_of(tmp_path / "a"), codes_of(tmp_path / "b")
    top = -(-int(0.9 * 44100) // 128)
    assert {k: len(v) for k, v in first.items()} == {
        "level_2": top,
        "level_1": 4 * top,
        "level_0": 16 * top,
    }
    assert not np.array_equal(first["level_2"], other["level_2"])
    assert not np.array_equal(first["level_2"], codes_of(tmp_path / "a", 1)["level_2"])
    for level in range(3):
        sound, rate = soundfile.read(tmp_path / "a" / "item_000" / f"level_{level}.wav")
        assert rate == 44100
        assert sound.shape == (top * 128,)
        assert np.abs(sound).max() > 0
    meta = json.loads((tmp_path / "a" / "item_001" / "meta.json").read_text())
    assert meta["seed"] == 3
    assert (tmp_path / "a" / "index.html").exists()


def test_a_killed_sample_goes_on_and_ends_the_same(road, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run("sample", *sample_flags(road, whole))
    partial = killed / "item_001" / "codes.npz"

    def in_the_middle_of_level_1():
        try:
            return 128 < len(codes_of(killed, 1)["level_1"]) < 4 * 300
        except (OSError, KeyError):
            return False

    code = stop_when("sample", *sample_flags(road, killed), ready=in_the_middle_of_level_1)
    assert code == -signal.SIGKILL
    assert partial.exists()
    run("sample", *sample_flags(road, killed))
    for item in range(2):
        for name, codes in codes_of(whole, item).items():
            np.testing.assert_array_equal(codes, codes_of(killed, item)[name])
        for level in range(3):
            file = f"item_{item:03d}/level_{level}.wav"
            assert (whole / file).read_bytes() == (killed / file).read_bytes()


def test_a_prompt_survives_at_the_start_of_every_level(road, tmp_path):
    prompt = tmp_path / "prompt.wav"
    time = np.arange(20000) / 44100
    soundfile.write(prompt, 0.3 * np.sin(2 * np.pi * 220 * time), 44100)
    flags = ("--mode=primed", f"--prompt={prompt}", "--prompt_seconds=0.3")
    run("sample", *sample_flags(road, tmp_path / "a", *flags, "--seed=1"))
    run("sample", *sample_flags(road, tmp_path / "b", *flags, "--seed=2"))
    first, other = codes_of(tmp_path / "a"), codes_of(tmp_path / "b")
    given = int(0.3 * 44100) // 128
    for name, ratio in (("level_2", 1), ("level_1", 4), ("level_0", 16)):
        np.testing.assert_array_equal(first[name][: given * ratio], other[name][: given * ratio])
        assert not np.array_equal(first[name][given * ratio :], other[name][given * ratio :])


def test_upsampling_keeps_the_top_level_of_given_codes(road, tmp_path):
    run("sample", *sample_flags(road, tmp_path / "a", "--levels=2"))
    source = tmp_path / "a" / "item_000" / "codes.npz"
    flags = ("--mode=upsample", f"--codes={source}", "--levels=1,0")
    run("sample", *sample_flags(road, tmp_path / "b", *flags))
    np.testing.assert_array_equal(
        codes_of(tmp_path / "a")["level_2"], codes_of(tmp_path / "b")["level_2"]
    )
    assert len(codes_of(tmp_path / "b")["level_0"]) == 16 * len(codes_of(tmp_path / "a")["level_2"])


@pytest.mark.parametrize("stage", [pytest.param("vqvae", marks=pytest.mark.slow), "prior"])
def test_a_killed_run_ends_with_the_same_bits(road, tmp_path, stage):
    workdir = tmp_path / stage
    step = int(np.random.default_rng().integers(4, 12))
    print(f"killed after step {step}")

    def far_enough():
        path = workdir / "metrics.jsonl"
        return path.exists() and f'"step": {step},' in path.read_text()

    flags = train_flags(road, stage, workdir)
    assert stop_when("train", *flags, ready=far_enough) == -signal.SIGKILL
    run("train", *flags)
    once, twice = checkpoints.read_state(road / stage), checkpoints.read_state(workdir)
    assert flat(once).keys() == flat(twice).keys()
    for name, value in flat(once).items():
        np.testing.assert_array_equal(value, flat(twice)[name], err_msg=name)


def flat(tree, prefix=""):
    found = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list | tuple):
            found |= flat(value, f"{prefix}{key}/")
        else:
            found[f"{prefix}{key}"] = value
    return found


def test_sigterm_saves_and_leaves_with_143(road, tmp_path):
    workdir = tmp_path / "run"
    flags = (*train_flags(road, "prior", workdir), "--config.steps=100000")

    def begun():
        path = workdir / "metrics.jsonl"
        return path.exists() and '"step": 5,' in path.read_text()

    assert stop_when("train", *flags, ready=begun, with_signal=signal.SIGTERM) == 143
    state = checkpoints.read_state(workdir)
    steps = [json.loads(x)["step"] for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert int(state["step"]) == max(steps)


def test_bad_input_ends_with_one_line(road, tmp_path):
    model = road / "model"
    cases = [
        ("sample", (f"--model={tmp_path}", f"--output={tmp_path / 'x'}"), "no model bundle"),
        ("sample", (f"--model={model}", f"--output={tmp_path / 'x'}", "--genre=polka"), "polka"),
        ("sample", (f"--model={model}", f"--output={tmp_path / 'x'}", "--seconds=-1"), "seconds"),
        ("encode", (f"--vqvae={road / 'prior'}", f"--input={road / 'audio'}",
                    f"--output={tmp_path / 'x'}"), "vqvae"),
        ("encode", (f"--vqvae={road / 'vqvae'}", f"--input={road / 'codes'}",
                    f"--output={tmp_path / 'x'}"), "codes"),
        ("train", (*train_flags(road, "prior"), "--config.seed=1"), "config.seed"),
        ("train", (*train_flags(road, "prior", tmp_path / "y"), "--config.model.level=1"), "level"),
        ("export", (f"--workdir={road / 'prior'}", f"--output={tmp_path / 'x'}"), "VQ-VAE"),
    ]  # fmt: skip
    for verb, flags, part in cases:
        error = run(verb, *flags, code=2).stderr
        lines = [line for line in error.splitlines() if line]
        assert len(lines) == 1, error
        assert lines[0].startswith("error: ")
        assert part in lines[0], lines[0]


def test_a_damaged_bundle_is_named(road, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(road / "model", copy)
    weights = copy / "level_2" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    error = run("sample", f"--model={copy}", f"--output={tmp_path / 'x'}", code=2).stderr
    assert "level_2" in error
    assert "damaged" in error
