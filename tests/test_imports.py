"""Imports point down: a package imports only packages below it, also inside functions."""

import ast
import re
from pathlib import Path

import pytest

import jukejax

ROOT = Path(jukejax.__file__).parent
# From the bottom to the top. The commands, at the root of the package, may import all of them.
LAYERS = (
    "common",
    "runtime",
    "ops",
    "data",
    "models",
    "analysis",
    "weights",
    "inference",
    "pages",
    "preparation",
    "sampling",
    "filming",
    "training",
    "evaluation",
    "auditing",
    "milestones",
    "benches",
    "studio",
)
COMMANDS = {
    "prepare",
    "train",
    "encode",
    "export",
    "convert",
    "sample",
    "evaluate",
    "embed",
    "audit",
    "bench",
    "doctor",
    "report",
    "serve",
    "align",
    "video",
    "listen",
}
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}


def imported_modules(path: Path) -> set[str]:
    """Returns the modules of ours that a file imports, at any depth of its code."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {name if name in MODULES else node.module for name in names}
    return {name for name in modules if name.split(".")[0] == "jukejax"}


def layer_of(module: str) -> int:
    """Returns the place of a module in LAYERS; those at the root of the package are above all."""
    package = module.partition(".")[2].partition(".")[0]
    return LAYERS.index(package) if package in LAYERS else len(LAYERS)


def test_the_layers_are_the_packages():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(LAYERS)
    assert {path.stem for path in ROOT.glob("*.py")} == COMMANDS | {"__init__", "cli", "api"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_downwards(module):
    for imported in imported_modules(MODULES[module]):
        if imported == "jukejax" or imported == module:
            continue
        if module == "jukejax":  # the package itself: the Python API, when it is used
            assert imported == "jukejax.api", imported
        elif layer_of(module) == len(LAYERS):  # a command: below it, or what all commands share
            assert imported == "jukejax.cli" or layer_of(imported) < len(LAYERS), imported
        else:
            assert layer_of(imported) <= layer_of(module), f"{imported} is above {module}"


def test_there_is_no_circle_of_modules():
    graph = {name: imported_modules(path) & MODULES.keys() for name, path in MODULES.items()}
    finished, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in finished:
            return
        path.append(module)
        for imported in sorted(graph[module]):
            visit(imported)
        path.pop()
        finished.add(module)

    for module in sorted(graph):
        visit(module)


@pytest.mark.parametrize("path", sorted((ROOT / "models").glob("*.py")), ids=lambda path: path.stem)
def test_models_have_no_word_of_the_cpu_kernels(path):
    assert not {name for name in imported_modules(path) if name.startswith("jukejax.ops.cpu")}
    for word in ("native", "products", "compiled"):
        assert not re.search(rf"\b{word}\b", path.read_text())
