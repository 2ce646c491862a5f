"""The `export` command on training runs: which checkpoint is exported, and what is said of it."""

import numpy as np
import orbax.checkpoint as ocp
import pytest

from jukejax.common import files
from jukejax.weights import bundle
from tests.support import small_bundle
from tests.support.command import run_in_process

LOSSES = {70: 4.961, 140: 4.692, 210: 4.8}


def save_run(folder, part, steps, **changes):
    """Writes a workdir whose weights differ by step; `steps` has the held-out loss of each."""
    config = small_bundle.configs("none")[part]
    folder.mkdir()
    files.write_json(folder / "description.json", small_bundle.describe(config) | changes)
    options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics["loss"])
    with ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options) as manager:
        for step, loss in steps.items():
            weights = small_bundle.random_weights(config, step)
            state = {"ema_params": weights["params"], "extra": weights.get("extra", {})}
            state |= {"params": weights["params"], "skipped_in_row": np.int32(0)}
            metrics = None if loss is None else {"loss": loss}
            manager.save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(state)), metrics=metrics
            )
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The workdirs of a VQ-VAE and of a prior of its codes."""
    root = tmp_path_factory.mktemp("runs")
    vqvae = save_run(root / "vqvae", "vqvae", {3: None})
    weights = small_bundle.random_weights(small_bundle.VQVAE, 3)
    codec = {"hash": bundle.hash_weights({k: weights[k] for k in ("params", "extra")})}
    return vqvae, save_run(root / "prior", "level_2", LOSSES, vqvae=codec)


@pytest.mark.parametrize(
    ("choice", "step"), [("best", 140), ("latest", 210), ("newest", 210), ("70", 70), ("0140", 140)]
)
def test_an_export_names_the_step_and_its_held_out_bits(tmp_path, runs, choice, step):
    workdirs = ",".join(map(str, runs))
    flags = (f"--workdir={workdirs}", f"--output={tmp_path}", f"--checkpoint={choice}")
    printed = run_in_process("export", *flags).stdout.splitlines()
    assert f"level_2: ema, step {step}, held out {LOSSES[step]:.3f} bits a code" in printed
    assert "vqvae: ema, step 3" in printed
    model = bundle.open_bundle(tmp_path)
    assert model["checkpoints"]["level_2"] == {
        "weights": "ema",
        "step": step,
        "heldout_bits": LOSSES[step],
    }
    assert f"step {step}, held out {LOSSES[step]:.3f} bits a code" in model["provenance"][1]
    config = small_bundle.configs("none")["level_2"]
    expected = bundle.flatten_weights(small_bundle.random_weights(config, step)["params"])
    exported = bundle.flatten_weights(bundle.load_part(tmp_path / "level_2")[1]["params"])
    assert all(exported[name].tobytes() == expected[name].tobytes() for name in expected)


def test_a_step_that_no_run_keeps_is_refused_with_those_that_there_are(tmp_path, runs):
    workdirs = ",".join(map(str, runs))
    flags = (f"--workdir={workdirs}", f"--output={tmp_path}")
    (line,) = run_in_process("export", *flags, "--checkpoint=71", code=2).stderr.splitlines()
    assert f"{runs[1]} holds no checkpoint of step 71; it has 70, 140, 210" in line
    alone = (f"--workdir={runs[0]}", f"--output={tmp_path}", "--checkpoint=4")
    assert "step 4; it has 3" in run_in_process("export", *alone, code=2).stderr
    for value in ("-3", "7e1", "first"):
        done = run_in_process("export", *flags, f"--checkpoint={value}", code=2)
        assert "its value is a step such as 33000, or one of latest, best, sound" in done.stderr


def test_a_bundle_gives_the_parts_that_the_runs_lack(tmp_path, runs):
    run_in_process("export", f"--workdir={runs[0]}", f"--output={tmp_path / 'codec'}")
    inputs = f"{tmp_path / 'codec'},{runs[1]}"
    run_in_process("export", f"--workdir={inputs}", f"--output={tmp_path / 'both'}")
    run_in_process("export", f"--workdir={runs[0]},{runs[1]}", f"--output={tmp_path / 'runs'}")
    assert bundle.hash_bundle(tmp_path / "both") == bundle.hash_bundle(tmp_path / "runs")
    inputs = f"{runs[1]},{tmp_path / 'both'}"  # a tuned prior replaces that of its bundle
    run_in_process("export", f"--workdir={inputs}", f"--output={tmp_path / 'tuned'}")
    assert bundle.hash_bundle(tmp_path / "tuned") == bundle.hash_bundle(tmp_path / "runs")


def test_a_run_that_diverged_is_exported_from_its_sound_checkpoint_only(tmp_path, runs):
    files.write_json(runs[1] / "diverged.json", {"first_step": 141, "reason": "no loss"})
    try:
        flags = (f"--workdir={runs[0]},{runs[1]}", f"--output={tmp_path / 'x'}")
        (said,) = run_in_process("export", *flags, code=2).stderr.splitlines()
        assert said == (
            f"error: {runs[1]} diverged at step 141, before its checkpoint 210: checkpoint 140 is "
            "sound: export --checkpoint=sound takes it"
        )
        assert not (tmp_path / "x").exists()
        printed = run_in_process("export", *flags, "--checkpoint=sound").stdout
        assert "level_2: ema, step 140," in printed
    finally:
        (runs[1] / "diverged.json").unlink()
