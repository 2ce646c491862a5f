"""No file, function or list of parameters exceeds its limit, but for exceptions with a reason."""

import ast
import functools
from pathlib import Path

import pytest

from tests.support.command import ROOT

FOLDERS = ("jukejax", "configs", "tests")
LIMITS = {"lines of a file": 300, "lines of a function": 60, "parameters": 8}
# The reason of each exception; one that is no longer needed fails.
EXCEPTIONS = {
    "lines of a file": {
        "jukejax/api.py": "mostly docstrings of the public API",
        "jukejax/training/loop.py": "a run from its start to its summary, read from top to bottom",
    },
    "lines of a function": {
        "jukejax/api.py: sample": "its docstring describes every argument",
        "jukejax/benches/train.py: define_flags": "one flag after another",
        "jukejax/sampling/request_flags.py: define_request_flags": "one flag after another",
        "configs/house_upsampler.py: get_config": "one value after another",
        "tests/drills/kills.py: list_drills": "a table of commands",
        "tests/golden/kinds/vqvae.py: _check_forward": "one program, and all that it computes",
        "tests/studio/test_page.py: test_a_take_from_its_sketch_to_its_download": "one visit",
    },
    "parameters": {
        "jukejax/api.py: sample": "the settings of `sample`, all by name",
        "jukejax/data/pipeline.py: read_code_batches": "what a model reads, all by name but two",
        "jukejax/inference/token_loop.py: sample_tokens": "its inputs, all by name but three",
    },
}


@functools.cache
def measure_sizes() -> dict[str, dict[str, int]]:
    """Returns {what is limited: {file, or file and function: size}}."""
    sizes: dict[str, dict[str, int]] = {what: {} for what in LIMITS}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            measure_file(path, path.relative_to(ROOT).as_posix(), sizes)
    return sizes


def measure_file(path: Path, name: str, sizes: dict[str, dict[str, int]]) -> None:
    """Adds the sizes of a file and its functions; of functions of one name the largest counts."""
    text = path.read_text(encoding="utf-8")
    sizes["lines of a file"][name] = len(text.splitlines())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            measured = {
                "lines of a function": node.end_lineno - node.lineno + 1,
                "parameters": count_parameters(node.args),
            }
            for what, size in measured.items():
                key = f"{name}: {node.name}"
                sizes[what][key] = max(size, sizes[what].get(key, 0))


def count_parameters(arguments: ast.arguments) -> int:
    """Returns the number of parameters, without `self` or `cls`."""
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    is_method = positional[:1] in (["self"], ["cls"])
    return len(positional) + len(arguments.kwonlyargs) - is_method


@pytest.mark.parametrize("what", LIMITS)
def test_sizes_are_within_their_limits(what):
    limit, exceptions = LIMITS[what], EXCEPTIONS[what]
    above = {name: size for name, size in measure_sizes()[what].items() if size > limit}
    excess = [f"{above[name]}: {name}" for name in sorted(above.keys() - exceptions.keys())]
    assert not excess, f"above {limit} {what}; divide them along a seam"
    unneeded = sorted(exceptions.keys() - above.keys())
    assert not unneeded, f"at most {limit} {what}; remove these exceptions"


def test_parameters_are_counted_without_self():
    source = "def f(self, a, /, b, *args, c=1, **rest): ..."
    assert count_parameters(ast.parse(source).body[0].args) == 3
    assert count_parameters(ast.parse("def f(a, *, b): ...").body[0].args) == 2
