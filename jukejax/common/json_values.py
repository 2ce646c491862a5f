"""Values of JSON files that may lack them or hold something else."""

import math


def parse_number(value: object) -> float | None:
    """Returns `value` as a float if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def join_text(value: object) -> str:
    """Formats a string, or a list of strings, as text; "" for None."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")
