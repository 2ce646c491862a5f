"""Comparison of nested states."""

import numpy as np


def assert_same_state(ours, theirs):
    """Checks that two nested dictionaries or lists hold the same arrays, bit for bit."""
    ours, theirs = flatten(ours), flatten(theirs)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def flatten(tree, prefix=""):
    """Returns the leaves of a nested dictionary or list by their paths."""
    leaves = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list | tuple):
            leaves |= flatten(value, f"{prefix}{key}/")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
