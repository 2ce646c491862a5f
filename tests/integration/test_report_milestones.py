"""`report --milestones`: the same seeds and prompts with the weights of several steps."""

import json

import numpy as np
import pytest

from jukejax.common import files
from jukejax.data import audio, corpus, vocabularies
from jukejax.data.codes_file import read_codes_file
from jukejax.data.writer import DatasetWriter
from jukejax.weights.codec_identity import identify_codec
from tests.integration.test_export_runs import LOSSES, runs  # noqa: F401
from tests.support import small_bundle
from tests.support.command import run_in_process


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    """Random codes of the VQ-VAE of `runs`, two tracks to train on and two held out."""
    folder, random = tmp_path_factory.mktemp("codes"), np.random.default_rng(0)
    vocabulary = vocabularies.Vocabulary.build(["a"], ["house"])
    codec = identify_codec(small_bundle.random_weights(small_bundle.VQVAE, 3))
    info = {"codebook_size": 16, "vqvae": codec, "separator": "none", "source": "y"}
    with DatasetWriter(folder, kind="codes", vocabulary=vocabulary, **info) as writer:
        for number in range(4):
            levels = {
                f"level_{level}": random.integers(0, 16, 4000 * 4 ** (2 - level)).astype(np.uint16)
                for level in range(3)
            }
            track = corpus.Track(f"t{number}", "a", ("house",), content=str(number))
            writer.add("train" if number < 2 else "heldout", track, **levels)
    return folder


@pytest.mark.slow
def test_steps_are_sampled_alike_and_described(runs, codes, tmp_path):  # noqa: F811
    vqvae, prior = runs
    rows = [
        {"step": 60, "split": "train", "seconds": 1, "bits_per_code": 4.5},
        {"step": 70, "split": "heldout", "seconds": 1, "bits_per_code": 4.9, "gap": 0.3},
        {"step": 200, "split": "train", "seconds": 1, "bits_per_code": 4.0},
    ]
    (prior / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompt = tmp_path / "beat.wav"
    sound = np.random.default_rng(0).normal(0, 0.1, (22050, 1)).astype(np.float32)
    audio.write_wav(prompt, sound)
    output = tmp_path / "page"
    flags = [f"--priors={prior}", f"--vqvae={vqvae}", f"--codes={codes}", f"--output={output}"]
    flags += [f"--prompts={prompt}", "--prompt_seconds=0.2", "--seconds=0.43", "--num_samples=1"]
    printed = run_in_process("report", "--milestones=210,70", *flags).stdout
    stored = files.read_json(output / "milestones.json")["milestones"]
    losses = [(each["step"], each["training_bits"], each["heldout_bits"]) for each in stored]
    assert losses == [(70, 4.5, 4.9), (210, 4.0, LOSSES[210])]
    np.testing.assert_allclose([each["gap"] for each in stored], [0.3, 0.8])
    assert [track["name"] for track in stored[0]["tracks"]] == [
        "item_000, without a prompt",
        "item_000, after beat.wav",
    ]
    assert all(track["verdict"] == "novel" for each in stored for track in each["tracks"])
    assert "held out 4.900 bits, gap 0.300" in printed
    tops = {
        (step, name): read_codes_file(output / f"step_{step}/{name}/item_000/codes.npz")[2]
        for step in (70, 210)
        for name in ("new", "prompt_0")
    }
    start = round(0.2 * 44100 / 128)
    np.testing.assert_array_equal(tops[70, "prompt_0"][:start], tops[210, "prompt_0"][:start])
    assert not np.array_equal(tops[70, "new"], tops[210, "new"])  # other weights
    assert not (output / ".work").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--milestones=71"], "holds no checkpoint of step 71; it has 70, 140, 210"),
        (["--milestones=7,x"], "a list of steps such as 33000,53000,90000"),
        (["--milestones", "--samples=x"], "remove --samples"),
        (["--milestones", "--priors="], "--milestones needs --priors"),
        (["--milestones", "--prompts=nowhere.wav"], "nowhere.wav"),
    ],
)
def test_bad_flags_are_one_line(runs, tmp_path, flags, message):  # noqa: F811
    vqvae, prior = runs
    usual = [f"--priors={prior}", f"--vqvae={vqvae}", f"--output={tmp_path}"]
    done = run_in_process("report", *usual, *flags, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
