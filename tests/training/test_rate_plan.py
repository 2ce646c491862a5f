"""Schedules that follow the steps, and what is said of rates that do not fall."""

import pytest

from jukejax.common import files
from jukejax.training import config_keys, following_steps, resuming
from jukejax.training.anneal import ScheduleConfig
from jukejax.training.optim import OptimizerConfig
from jukejax.training.rate_plan import describe_rate, find_rate_warnings
from tests.integration.test_configs import load
from tests.training.test_config_keys import read


def test_a_schedule_follows_the_steps_unless_it_is_given(monkeypatch):
    """configs/from_scratch.py:prior has 280 steps, 14 of warm-up, and a decay from 140 on."""
    from_scratch = "--config=configs/from_scratch.py:prior"
    optimizer = read(monkeypatch, from_scratch, "--config.steps=1001").optimizer
    assert (optimizer.warmup_steps, optimizer.decay_start) == (50, 500)
    assert optimizer.decay_start + optimizer.decay_steps == 1001
    flags = ("--config.steps=1000", "--config.optimizer.decay_start=900")
    optimizer = read(monkeypatch, from_scratch, *flags).optimizer
    assert (optimizer.decay_start, optimizer.decay_steps) == (900, 100)
    assert (
        read(monkeypatch, from_scratch).to_dict()
        == read(monkeypatch, from_scratch, "--config.steps=280").to_dict()
    )
    assert read(monkeypatch, from_scratch).optimizer.decay_start == 140


def test_every_schedule_in_steps_follows_and_a_short_run_keeps_a_warmup(monkeypatch):
    config = read(monkeypatch, "--config=configs/house_prior.py", "--config.steps=1200")
    assert config.schedule.to_dict() == {
        "anneal_at_bits": 2.0,
        "anneal_on_stall": 5,
        "anneal_steps": 100,
        "smoothing": 2,
        "stop_on_stall": 0,
    }
    optimizer = config.optimizer
    assert (optimizer.warmup_steps, optimizer.decay_start, optimizer.decay_steps) == (60, 1100, 100)


def test_an_interval_that_means_never_does_not_follow():
    """A drop of the rate after 10**10 steps, in a run of 12."""
    config = load("tiny", "vqvae")
    config.optimizer = {"gamma": 0.5, "decay_start": None, "decay_steps": 10**10}
    before = config.to_dict()
    config.steps = 120
    following_steps.follow_steps(config, before, {"steps"})
    assert config.optimizer.to_dict() == before["optimizer"]


def test_a_run_may_be_continued_for_more_steps_with_its_schedule(tmp_path):
    files.write_json(
        tmp_path / "config.json",
        {"steps": 12, "optimizer": {"learning_rate": 1.0, "decay_start": 6}},
    )
    longer = {"steps": 24, "optimizer": {"learning_rate": 1.0, "decay_start": 12}}
    resuming.check_same_run(tmp_path, longer)
    for other in (
        longer | {"steps": 12},
        longer | {"optimizer": {"learning_rate": 2.0, "decay_start": 12}},
    ):
        with pytest.raises(ValueError, match=r"was begun with config\.optimizer="):
            resuming.check_same_run(tmp_path, other)


@pytest.mark.parametrize(
    ("optimizer", "schedule", "said"),
    [
        ({"decay_start": 50, "decay_steps": 50}, {}, []),
        ({"decay_start": None}, {"anneal_on_stall": 3}, []),
        ({"decay_start": 20, "decay_steps": 20}, {}, ["0 from step 40 to the end at 100 (60 %"]),
        ({"decay_start": None}, {}, ["never falls"]),
        ({"decay_start": 900, "decay_steps": 50}, {}, ["never falls"]),
        ({"decay_start": 90, "decay_steps": 100}, {}, ["only falls to 91 % of its peak"]),
        ({"warmup_steps": 300, "decay_start": None}, {}, ["still warming up at the last step 100"]),
        ({"learning_rate": 0.0}, {}, ["is 0 in all 100 steps"]),
    ],
)
def test_a_rate_of_zero_or_without_a_fall_is_told(optimizer, schedule, said):
    config = OptimizerConfig(**{"learning_rate": 0.1, "warmup_steps": 4} | optimizer)
    lines = find_rate_warnings(config, ScheduleConfig(**schedule), 100)
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert words in line


def test_the_rate_is_described():
    config = OptimizerConfig(warmup_steps=10, decay_start=50, decay_steps=50)
    assert describe_rate(config, 100) == "warm-up to step 10, full to 50, zero at 100"
    assert describe_rate(config, 40) == "warm-up to step 10, then constant"


def test_the_keys_that_follow_exist():
    fields = {"optimizer": OptimizerConfig(), "schedule": ScheduleConfig()}
    for group, names in following_steps.FOLLOWING.items():
        assert group in config_keys.KEYS
        assert all(hasattr(fields[group], name) for name in names)
