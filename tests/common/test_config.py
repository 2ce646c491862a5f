"""From free dictionaries to frozen dataclasses and back."""

import dataclasses
import json

import pytest

from jukejax.common.config import freeze, to_plain
from jukejax.training.optim import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class Inner:
    width: int
    hops: tuple[int, ...] = (8,)


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    other: Inner | None = None


VALUES = {"name": "a", "inner": {"width": 3, "hops": [8, 32]}, "other": {"width": 1}}


def test_nested_mappings_become_nested_dataclasses_and_lists_tuples():
    frozen = freeze(Outer, VALUES)
    assert frozen == Outer("a", Inner(3, (8, 32)), Inner(1))
    assert hash(frozen)  # static under jit
    assert freeze(Outer, {**VALUES, "other": None}).other is None
    named = freeze(OptimizerConfig, {"no_decay": "bias, norm"})  # as a command line gives it
    assert named.no_decay == ("bias", "norm")


def test_plain_is_the_way_back_through_json():
    frozen = freeze(Outer, VALUES)
    assert freeze(Outer, json.loads(json.dumps(to_plain(frozen)))) == frozen


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**VALUES, "nane": 1}, "unknown key config.nane; did you mean 'name'"),
        ({**VALUES, "qqq": 1}, "unknown key config.qqq; known: name, inner, other"),
        ({"name": "a", "inner": {"widht": 3}}, "unknown key config.inner.widht; .* 'width'"),
        ({"name": "a", "inner": {}}, "config.inner lacks width"),
        ({}, "config lacks name, inner"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_name_the_key_and_the_nearest_known_one(values, message):
    with pytest.raises(ValueError, match=message):
        freeze(Outer, values)


def test_the_class_itself_still_checks_its_values():
    with pytest.raises(ValueError, match=r"optimizer\.adam is 'sgd'; known: optax, openai"):
        freeze(OptimizerConfig, {"adam": "sgd"}, "config.optimizer")
