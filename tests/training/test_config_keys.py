"""Which keys a training config may have, in files and on the command line."""

import re
import sys
from pathlib import Path

import pytest
from absl import flags

from jukejax.training import config_keys, resuming
from jukejax.weights import shipped
from tests.integration.test_configs import VARIANTS, load


def read(monkeypatch, *argv):
    """Returns the config that `train` would read from its flags."""
    argv = ["train", *argv]
    monkeypatch.setattr(sys, "argv", argv)
    values = flags.FlagValues()
    config_keys.define_flag("config", "for a test", values)
    values(argv)
    return config_keys.read_config(values, "config")


def parsed(monkeypatch, *argv):
    """Returns the config that `train` would get."""
    return config_keys.check_config(read(monkeypatch, *argv))


TINY = "--config=configs/tiny.py:vqvae"


def test_keys_that_a_file_leaves_away_can_be_given(monkeypatch):
    config = parsed(
        monkeypatch,
        TINY,
        "--config.wandb=house",
        "--config.vqvae=runs/a-b/vqvae",
        "--config.peak_flops=1e12",
        "--config.sample_every=0",
        "--config.tensorboard=false",
        "--config.schedule.anneal_at_bits=2.0",
        "--config.model.remat=true",
        "--config.steps=7",
    )
    assert config.wandb == "house"
    assert config.vqvae == "runs/a-b/vqvae"
    assert (config.peak_flops, config.sample_every, config.tensorboard) == (1e12, 0, False)
    assert config.schedule.to_dict() == {"anneal_at_bits": 2.0}
    assert config.model.remat is True
    assert config.steps == 7


def test_groups_that_nothing_was_put_into_are_not_there(monkeypatch):
    config = parsed(monkeypatch, TINY)
    assert config.to_dict() == load("tiny", "vqvae").to_dict()


def test_a_key_that_means_nothing_is_named_with_its_nearest(monkeypatch):
    with pytest.raises(ValueError, match=r"unknown key config.stepz; did you mean config.steps\?"):
        parsed(monkeypatch, TINY, "--config.stepz=7")


def test_every_shipped_config_keeps_to_the_known_keys():
    for name, variant in VARIANTS:
        config_keys.check_config(load(name, variant))


def test_every_key_that_training_reads_can_be_given():
    """Those that a run may change, and those that the code asks a config for by name."""
    package = Path(config_keys.__file__).parent
    asked = {
        key
        for path in package.rglob("*.py")
        for key in re.findall(r'\bconfig\.get\("(\w+)"', path.read_text())
    }
    assert set(config_keys.KEYS) >= resuming.MAY_CHANGE
    assert set(config_keys.KEYS) >= asked >= {"audit", "vqvae"}


def test_names_of_the_shipped_model_become_its_folder(monkeypatch, tmp_path):
    (tmp_path / "model.json").write_text("{}")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    config = parsed(monkeypatch, TINY, "--config.init_from=house", "--config.vqvae=runs/mine")
    assert (config.init_from, config.vqvae) == (str(tmp_path), "runs/mine")
