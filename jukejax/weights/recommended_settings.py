"""Settings of sampling that a model recommends, for those that a request leaves open.

`sampling` in model.json has some of the names of `DEFAULTS`; numbers for each level are
{"level_2": 1.4, "level_1": 0.9}.
"""

from collections.abc import Mapping, Sequence
from typing import Any

DEFAULTS: Mapping[str, Any] = {  # of models without recommendation
    "temperature": 0.98,
    "guidance": 1.0,
    "guided_labels": "all",
    "hop_fraction": 0.5,
    "top_k": 0,
    "top_p": 0.0,
    "min_p": 0.0,
    "schedule": "sequential",
}
PER_LEVEL = ("temperature", "guidance", "hop_fraction", "top_k", "top_p", "min_p")


def fill_settings(
    values: Mapping[str, Any], levels: Sequence[int], recommended: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the values; those that are None are the recommended ones, or else `DEFAULTS`.

    Args:
      levels: of the request, in the order of its lists of numbers.
      recommended: `sampling` of model.json.
    """
    filled = dict(values)
    for name in DEFAULTS:
        if filled.get(name) is None:
            filled[name] = _select(name, levels, recommended)
    return filled


def _select(name: str, levels: Sequence[int], recommended: Mapping[str, Any]) -> Any:
    """Returns a setting, a list of those of `levels` if each has its own."""
    value = recommended.get(name, DEFAULTS[name])
    if not isinstance(value, Mapping):
        return value
    return [value.get(f"level_{level}", DEFAULTS[name]) for level in levels]


def check_recommendation(recommended: Any, path: str) -> None:
    """Checks the names and the form of recommended settings.

    Args:
      path: of them, for messages.

    Raises:
      ValueError: a name is not known, or a value has the wrong form.
    """
    if not isinstance(recommended, Mapping):
        raise ValueError(f"{path} is not an object with some of {', '.join(DEFAULTS)}")
    for name, value in recommended.items():
        if name not in DEFAULTS:
            raise ValueError(f"{path}.{name} is not known; known are {', '.join(DEFAULTS)}")
        if name in PER_LEVEL:
            numbers = value.values() if isinstance(value, Mapping) else [value]
            is_valid = all(type(number) in (int, float) for number in numbers)
        else:
            texts = value if name == "guided_labels" and isinstance(value, list) else [value]
            is_valid = all(isinstance(text, str) for text in texts)
        if not is_valid:
            raise ValueError(
                f"{path}.{name} is {value!r}, not a setting, nor one of each level such as "
                '{"level_2": 1.4, "level_1": 0.9}'
            )
