"""Runs whose loss is not finite: they end with a line, and nothing of them is exported unseen."""

import pytest

from jukejax.common import files
from jukejax.training import divergence
from jukejax.training.loop import Training
from jukejax.weights import checkpoints
from tests.training.test_loop import codes, config_of, one_device  # noqa: F401


def diverging(folder, **changes):
    """Its first step has rate 0, the second destroys the weights, the others are skipped."""
    changes = dict(checkpoint_every=1, keep=20, max_skipped=5) | changes
    changes |= dict(optimizer__learning_rate=1e30, optimizer__clip=0.0)
    return config_of(folder, optimizer__warmup_steps=1, **changes)


def test_a_run_whose_loss_is_never_finite_names_its_sound_checkpoint(codes, tmp_path):  # noqa: F811
    line = r"5 steps in a row before step 7 had .*; checkpoint 1 is sound: export --check"
    with pytest.raises(divergence.DivergenceError, match=line):
        Training(diverging(codes, steps=30), tmp_path).run()
    names = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert all(name.isdecimal() for name in names), "checkpoints are closed, none is unfinished"
    assert not (tmp_path / "summary.json").exists()
    for choice in ("latest", "best"):
        with pytest.raises(ValueError, match=r"diverged at step 2, before .*1 is sound|held-out"):
            checkpoints.select_step(tmp_path, choice)
    assert checkpoints.select_step(tmp_path, "sound").step == 1


def test_a_short_run_that_diverges_is_no_finished_run(codes, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match=r"held-out loss after the last step 4 is (nan|inf)"):
        Training(diverging(codes, steps=4, max_skipped=20), tmp_path).run()
    assert files.read_json(tmp_path / "diverged.json")["first_step"] == 2
    assert not (tmp_path / "summary.json").exists()


def test_a_run_without_one_finite_step_has_nothing_sound(codes, tmp_path):  # noqa: F811
    config = diverging(codes, steps=3)
    config.model.transformer.init_scale = 1e30
    with pytest.raises(ValueError, match=r"3 steps in a row .* no checkpoint is sound"):
        Training(config, tmp_path).run()


def test_a_run_that_ends_well_forgets_an_earlier_divergence(codes, tmp_path):  # noqa: F811
    files.write_json(tmp_path / "diverged.json", {"first_step": 1, "reason": "x"})
    Training(config_of(codes, steps=2), tmp_path).run()
    assert not (tmp_path / "diverged.json").exists()
    assert checkpoints.select_step(tmp_path, "latest").step == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"diverged.json is damaged: Expecting property name"),
        ('{"reason": "x"}', r"diverged.json lacks first_step; the file says where"),
        ('{"first_step": "2", "reason": "x"}', r"diverged.json.first_step is '2', not an integer"),
    ],
    ids=["json", "missing", "type"],
)
def test_a_damaged_record_of_a_divergence_is_named(tmp_path, text, message):
    (tmp_path / "diverged.json").write_text(text)
    saved = checkpoints.SavedStep(tmp_path / "checkpoints", 3)
    with pytest.raises(ValueError, match=message):
        checkpoints.check_diverged(tmp_path, saved)


def test_a_run_whose_gradients_are_above_skip_norm_is_told_so():
    metrics = {"skipped_in_row": 20, "loss": 3.5, "grad_norm": 70.0}
    with pytest.raises(divergence.DivergenceError) as error:
        divergence.check_steps(metrics, step=20, limit=20)
    assert "20 steps in a row before step 20" in str(error.value)
    assert "above optimizer.skip_norm (loss 3.5, gradient norm 70.0)" in str(error.value)
    divergence.check_steps(metrics | {"skipped_in_row": 19}, step=20, limit=20)
