"""From free dictionaries to frozen dataclasses and back."""

import dataclasses
import json
from typing import Any

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


@dataclasses.dataclass(frozen=True)
class Table:
    rows: dict[str, Inner]
    limits: tuple[float, float] = (0.0, 1.0)
    more: dict[str, Any] = dataclasses.field(default_factory=dict)


def test_tables_and_pairs_are_checked_entry_by_entry():
    table = freeze(Table, {"rows": {"a": {"width": 1}}, "limits": [1, 2.5], "more": {"x": [None]}})
    assert table == Table({"a": Inner(1)}, (1, 2.5), {"x": [None]})
    with pytest.raises(ValueError, match=r"t\.rows\.b lacks width"):
        freeze(Table, {"rows": {"a": {"width": 1}, "b": {}}}, "t")
    with pytest.raises(ValueError, match=r"t\.limits has 3 entries, not 2"):
        freeze(Table, {"rows": {}, "limits": [1, 2, 3]}, "t")
    with pytest.raises(ValueError, match=r"t\.rows is \[\], not an object"):
        freeze(Table, {"rows": []}, "t")


def test_unknown_keys_of_newer_files_are_ignored_on_request():
    values = {**VALUES, "new": 1, "inner": {"width": 3, "new": 2}}
    assert freeze(Outer, values, ignore_unknown=True) == freeze(
        Outer, {**VALUES, "inner": {"width": 3}}
    )


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
        ({**VALUES, "name": 3}, "config.name is 3, not text"),
        ({**VALUES, "inner": {"width": "3"}}, "config.inner.width is '3', not an integer"),
        ({**VALUES, "inner": {"width": True}}, "config.inner.width is True, not an integer"),
        ({**VALUES, "inner": {"width": 1.5}}, "config.inner.width is 1.5, not an integer"),
        ({**VALUES, "inner": {"width": None}}, "config.inner.width is None, not an integer"),
        ({**VALUES, "inner": {"width": 1, "hops": 8}}, "config.inner.hops is 8, not a list"),
        (
            {**VALUES, "inner": {"width": 1, "hops": [8, "x"]}},
            r"config.inner.hops\[1\] is 'x', not an integer",
        ),
        ({**VALUES, "inner": [1] * 99}, r"config.inner is \[1, 1, .*\.\.\., not an object with"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_name_the_key_and_the_nearest_known_one(values, message):
    with pytest.raises(ValueError, match=message):
        freeze(Outer, values)


def test_the_class_itself_still_checks_its_values():
    with pytest.raises(ValueError, match=r"optimizer\.adam is 'sgd'; known: optax, openai"):
        freeze(OptimizerConfig, {"adam": "sgd"}, "config.optimizer")
