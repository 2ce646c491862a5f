"""Errors of processed sounds against their originals (`evaluate --paired`)."""

from collections.abc import Sequence
from pathlib import Path

from jukejax.analysis import alignment, fidelity
from jukejax.common.formatting import format_count
from jukejax.data.audio import SAMPLE_RATE
from jukejax.evaluation.sound_sets import Entry, find_middle


def match_pairs(inputs: Sequence[Entry], references: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Returns each input with the reference of the same name, without suffix.

    Raises:
      ValueError: an input has no such reference.
    """
    originals = {_stem(entry): entry for entry in references}
    missing = [entry.name for entry in inputs if _stem(entry) not in originals]
    if missing:
        raise ValueError(
            f"--paired: --reference has nothing of the name of {missing[0]} "
            f"({len(missing)} of {len(inputs)} lack a partner); give both the same name"
        )
    return [(entry, originals[_stem(entry)]) for entry in inputs]


def _stem(entry: Entry) -> Path:
    return Path(entry.name).with_suffix("")


def measure_pair(
    target: Entry, output: Entry, seconds: float, *, with_visqol: bool
) -> dict[str, float | None]:
    """Measures the constant shift of a processed sound, and its errors without the shift.

    Args:
      target: the original.
      output: the processed sound.
      seconds: from the middle of the aligned sounds; 0: all.

    Returns:
      Figures of `fidelity.measure_fidelity`, and shift_samples.
    """
    first, second = (entry.read().mean(axis=1) for entry in (target, output))
    shift = alignment.find_shift(first, second, SAMPLE_RATE)
    first, second = alignment.align(first, second, shift)
    middle = find_middle(len(first), seconds)
    errors = fidelity.measure_fidelity(
        first[middle],
        second[middle],
        SAMPLE_RATE,
        with_visqol=with_visqol,
    )
    return errors | {"shift_samples": float(shift)}


def describe_shifts(names: Sequence[str], shifts: Sequence[float | None]) -> str | None:
    """Returns a sentence about the inputs that are shifted; None if there are none."""
    shifted = [(name, round(shift)) for name, shift in zip(names, shifts, strict=True) if shift]
    if not shifted:
        return None
    name, shift = shifted[0]
    is_equal = {shift for _, shift in shifted} == {shift}
    which = "each" if is_equal else f"the first, {name},"
    way = "later" if shift > 0 else "earlier"
    number, is_one = format_count(len(names), "input"), len(shifted) == 1
    words = "is shifted against its original" if is_one else "are shifted against their originals"
    distance = f"{format_count(abs(shift), 'sample')} ({1000 * abs(shift) / SAMPLE_RATE:.1f} ms)"
    return (
        f"--paired: {len(shifted)} of {number} {words}, {which} by {distance} {way}; "
        "errors are measured without the shift"
    )
