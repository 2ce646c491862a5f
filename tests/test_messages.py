"""The texts that users read."""

import ast
import re

from jukejax.common import files

MODULES = sorted((files.REPOSITORY / "jukejax").rglob("*.py"))


def find_texts(source):
    """Finds the strings of a module, parts of f-strings among them."""
    constants = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [node.value for node in constants if isinstance(node.value, str)]


def test_no_text_leaves_the_plural_to_its_reader():
    open_forms = {
        (path.name, text)
        for path in MODULES
        for text in find_texts(path.read_text())
        if re.search(r"\w\((s|es)\)", text)
    }
    assert open_forms == set()
