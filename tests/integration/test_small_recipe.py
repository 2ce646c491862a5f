"""OpenAI's recipe for a small corpus, from music to tracks: 22,050 Hz, two levels, hops 32 and 256.

The configs are those of configs/openai_small.py with smaller models; a single convolution has the
stride of several, which takes less time to compile.
"""

import json

import numpy as np
import pytest
import soundfile

from jukejax.data import corpus
from tests.support.command import run_in_process
from tests.support.preparation import prepare

RATE = 22_050
RUN = ("steps=2", "eval_batches=1", "log_every=1", "dtype=float32", "data.batch_size=2")
VQVAE = (
    *("model.width=4", "model.depth=1", "model.emb_dim=4", "model.codebook_size=16"),
    *("model.downs=(1,1)", "model.strides=(32,8)", "data.window=4096", "loss.linf_k=64"),
)
PRIOR = (
    *("model.codebook_size=16", "model.transformer.emb_dim=16", "model.transformer.num_layers=1"),
    *("model.transformer.seq_len=64", "model.transformer.num_blocks=8"),
)
UPSAMPLER = (
    *(*PRIOR, "model.upper.vocab_size=16", "model.upper.width=4", "model.upper.depth=1"),
    *("model.upper.downs=1", "model.upper.stride=8"),
)
STAGES = {
    "small_vqvae": VQVAE,
    "small_prior-22k": (*PRIOR, "model.transformer.attn_order=0"),
    "small_upsampler": (*UPSAMPLER, "model.transformer.attn_order=0"),
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Runs all stages; returns the folder of audio, codes, the three workdirs and the samples."""
    root = tmp_path_factory.mktemp("recipe")
    flags = ("--input=house", "--house_tracks=4", "--house_seconds=5", f"--sample_rate={RATE}")
    prepare(*flags, f"--output={root / 'audio'}")
    for stage, changes in STAGES.items():
        data = root / ("audio" if stage == "small_vqvae" else "codes")
        run_in_process(
            "train",
            f"--config=configs/openai_small.py:{stage}",
            f"--workdir={root / stage}",
            f"--config.data.folder={data}",
            *(f"--config.{change}" for change in (*RUN, *changes)),
        )
        if stage == "small_vqvae":
            run_in_process(
                "encode",
                f"--vqvae={root / stage}",
                f"--input={root / 'audio'}",
                f"--output={root / 'codes'}",
            )
    workdirs = ",".join(str(root / stage) for stage in STAGES)
    run_in_process("export", f"--workdir={workdirs}", f"--output={root / 'model'}")
    run_in_process(
        "sample", f"--model={root / 'model'}", "--seconds=1.0", f"--output={root / 'samples'}"
    )
    return root


def test_shards_are_at_the_requested_rate(pipeline):
    dataset = corpus.open_dataset(pipeline / "audio")
    assert dataset.table.sample_rate == RATE
    outcomes = json.loads((pipeline / "audio" / "corpus.json").read_text())
    seconds = {row["file"]: row["seconds"] for row in outcomes["files"]}
    for track in dataset.tracks("train"):
        assert track.samples / RATE == pytest.approx(seconds[track.name], abs=1e-3)
    codes = corpus.open_dataset(pipeline / "codes")
    assert (codes.table.sample_rate, codes.table.hops) == (RATE, (32, 256))
    fine, top = codes.read_codes("train", 0)
    assert len(fine) == 8 * len(top) == dataset.tracks("train")[0].samples // 256 * 8


def test_the_tracks_have_both_levels_at_that_rate(pipeline):
    item = pipeline / "samples" / "item_000"
    with np.load(item / "codes.npz") as codes:
        assert {name: len(codes[name]) for name in codes.files} == {"level_0": 696, "level_1": 87}
    for level in range(2):
        sound, rate = soundfile.read(item / f"level_{level}.wav")
        assert rate == RATE
        assert len(sound) == 87 * 256
    meta = json.loads((item / "meta.json").read_text())
    assert (meta["sample_rate"], meta["hops"]) == (RATE, [32, 256])
    page = (pipeline / "samples" / "index.html").read_text()
    assert "Each track is generated at two levels" in page
    assert "Unfinished" not in page


def test_commands_for_other_rates_say_so(pipeline, tmp_path):
    flags = (f"--input={pipeline / 'samples'}", f"--training={pipeline / 'audio'}")
    done = run_in_process("audit", *flags, f"--output={tmp_path}", code=2)
    assert "is at 22050 Hz, and 44100 Hz are needed here" in done.stderr.splitlines()[-1]
