"""docs/differences.md: each difference has a reason and names existing tests."""

import re
from pathlib import Path

import pytest

from jukejax.common.config import freeze
from jukejax.training.optim import OptimizerConfig, make_schedule

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line
    for line in (ROOT / "docs" / "differences.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| OpenAI's code |")
]


@pytest.mark.parametrize("row", ROWS, ids=[f"row{i}" for i in range(len(ROWS))])
def test_a_difference_has_a_reason_and_a_test(row):
    original, implementation, reason, tests = (cell.strip() for cell in row.strip("|").split(" | "))
    assert original
    assert implementation
    assert reason
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
    golden = re.findall(r"`golden\[(\w+)\]`", tests)
    assert named or golden, f"no test in {tests!r}"
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
    for name in golden:
        assert (ROOT / "tests" / "golden" / f"{name}.npz").is_file(), name


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("param_dtype", "unknown key config.optimizer.param_dtype"),
        ("moment_dtype", "moment_dtype is 'float16'; known: float32, bfloat16"),
    ],
)
def test_parameters_and_moments_in_float16_are_refused(key, message):
    with pytest.raises(ValueError, match=message) as error:
        freeze(OptimizerConfig, {key: "float16"}, "config.optimizer")
    assert "\n" not in str(error.value)


def test_a_warm_up_of_no_steps_starts_at_the_full_rate():
    assert make_schedule(OptimizerConfig(learning_rate=0.5, warmup_steps=0))(0) == 0.5
    assert make_schedule(OptimizerConfig(learning_rate=0.5, warmup_steps=10))(0) == 0.0
