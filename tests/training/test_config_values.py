"""Numbers of a config that are refused, by key, with one line."""

import dataclasses
import types
import typing

import pytest

from jukejax.data.vocabularies import Vocabulary
from jukejax.models.conditioners import CodeConditionerConfig, LyricsConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.runtime.sharding import MeshConfig
from jukejax.training import config_keys, config_values
from jukejax.training.anneal import ScheduleConfig
from jukejax.training.loss_scale import LossScaleConfig
from jukejax.training.optim import OptimizerConfig
from jukejax.training.tasks.prior_sizes import complete_prior_config
from jukejax.training.tasks.vqvae_loss import LossConfig
from tests.integration.test_configs import load
from tests.training.test_config_keys import TINY, parsed

CLASSES = {
    "model": (VQVAEConfig, PriorConfig),
    "model.transformer": (TransformerConfig,),
    "model.upper": (CodeConditionerConfig,),
    "model.labels": (LabelConfig,),
    "model.lyrics": (LyricsConfig,),
    "model.lyrics.encoder": (TransformerConfig,),
    "optimizer": (OptimizerConfig,),
    "schedule": (ScheduleConfig,),
    "loss_scale": (LossScaleConfig,),
    "loss": (LossConfig,),
    "mesh": (MeshConfig,),
}


def is_number(hint):
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return any(x in (int, float) or typing.get_args(x)[:1] == (int,) for x in options)


def test_every_number_of_a_config_has_a_range():
    ranges = config_values.RANGES.keys()
    for model in config_values.MODELS.values():
        ranges |= {f"model.{name}" for name in model}
    numbers = {
        f"{group}.{field.name}"
        for group, classes in CLASSES.items()
        for cls in classes
        for field in dataclasses.fields(cls)
        if is_number(typing.get_type_hints(cls)[field.name])
    }
    assert numbers <= ranges
    assert {key for key in ranges if "." not in key} <= config_keys.KEYS.keys()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("optimizer.learning_rate=nan", "config.optimizer.learning_rate is nan: it must be a fin"),
        ("optimizer.learning_rate=inf", "config.optimizer.learning_rate is inf"),
        ("optimizer.learning_rate=-1e-3", "must be a finite number of at least 0"),
        ("optimizer.weight_decay=-1.0", "config.optimizer.weight_decay is -1.0"),
        ("optimizer.decay_steps=0", "config.optimizer.decay_steps is 0"),
        ("optimizer.warmup_steps=-1", "config.optimizer.warmup_steps is -1"),
        ("optimizer.ema_decay=1.5", "config.optimizer.ema_decay is 1.5: it must be a finite"),
        ("optimizer.beta2=1.0", "config.optimizer.beta2 is 1.0"),
        ("optimizer.eps=0.0", "config.optimizer.eps is 0.0"),
        ("steps=0", "config.steps is 0: it must be a whole number of at least 1 and below 2**31"),
        ("steps=-5", "config.steps is -5"),
        ("steps=9999999999", "config.steps is 9999999999"),
        ("data.batch_size=0", "config.data.batch_size is 0"),
        ("data.window=-8", "config.data.window is -8"),
        ("log_every=0", "config.log_every is 0"),
        ("eval_batches=0", "config.eval_batches is 0"),
        ("eval_every=-1", "config.eval_every is -1"),
        ("checkpoint_every=0", "config.checkpoint_every is 0"),
        ("keep=0", "config.keep is 0"),
        ("keep_best=-1", "config.keep_best is -1"),
        ("accumulate=0", "config.accumulate is 0"),
        ("max_skipped=0", "config.max_skipped is 0"),
        ("peak_flops=-1.0", "config.peak_flops is -1.0"),
        ("mesh.data=-2", "config.mesh.data is -2"),
        (f"seed={2**70}", f"config.seed is {2**70}: it must be a whole number of at least 0 and"),
        ("seed=-1", "config.seed is -1"),
        ("model.codebook_size=0", "config.model.codebook_size is 0"),
        ("model.multipliers=(2, 0, 1)", "config.model.multipliers is (2, 0, 1)"),
        ("model.ema_decay=nan", "config.model.ema_decay is nan"),
        ("loss.commit=nan", "config.loss.commit is 'nan'"),
        ("schedule.anneal_at_bits=nan", "config.schedule.anneal_at_bits is 'nan'"),
    ],
)
def test_a_number_out_of_range_is_refused_by_key(monkeypatch, flag, said):
    with pytest.raises(ValueError, match=r"^config\.") as caught:
        parsed(monkeypatch, TINY, f"--config.{flag}")
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["steps", "data.batch_size", "optimizer", "data.window"])
def test_a_config_that_lacks_a_key_is_refused(key):
    config = load("tiny", "vqvae")
    group, _, name = key.rpartition(".")
    del (config[group] if group else config)[name]
    with pytest.raises(ValueError, match=f"the config lacks {key}; set it in its file"):
        config_keys.check_config(config)


@pytest.mark.parametrize("key", ["context_dropout", "labels.dropout", "labels.dropout_all"])
def test_a_prior_that_sees_nothing_is_refused(key):
    config = load("tiny", "prior")
    with config.unlocked():
        config.model.update_from_flattened_dict({key: 1.0})
    with pytest.raises(ValueError, match=rf"config.model.{key} is 1.0: it .* and below 1$"):
        config_keys.check_config(config)


def test_groups_and_counts_of_another_type_are_refused():
    for key, value in (("optimizer", 3), ("steps", "many"), ("steps", 2.5), ("log_every", True)):
        config = load("tiny", "vqvae")
        del config[key]
        config[key] = value
        with pytest.raises(ValueError, match=f"config.{key} is {value!r}"):
            config_keys.check_config(config)


@pytest.mark.parametrize("key", ["codebook_size", "upper.vocab_size"])
def test_a_codebook_smaller_than_its_codes_is_refused(key):
    config = load("tiny", "upsampler1")
    info = {"hops": [8, 32, 128], "codebook_size": 2048, "sample_rate": 44100}
    dataset = types.SimpleNamespace(info=info, vocabulary=Vocabulary())
    config.model.upper.vocab_size = config.model.codebook_size = 2048
    complete_prior_config(config, dataset)
    config.model.update_from_flattened_dict({key: 100})
    with pytest.raises(ValueError, match=rf"config.model.{key} is 100, but the data has 2048"):
        complete_prior_config(config, dataset)
