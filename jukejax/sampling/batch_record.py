"""The batches of a folder with the tracks of many requests, in its settings.json.

    {"model": ..., "dtype": ..., "weights": ..., "requests": [...], "batches": [[0, 1], [2]]}

`requests` has the settings of each in their order, null for one that was skipped. An item stays in
its batch when the folder is resumed, as products of other shapes may differ in their last bits, and
items of requests that were added to the end of the file get batches of their own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jukejax.common import files
from jukejax.sampling.plan import TrackPlan, group_by_shape
from jukejax.sampling.shares import split_batch


def assign_batches(
    output: Path, settings: Mapping[str, Any], plans: Mapping[int, TrackPlan], num_parts: int = 1
) -> list[list[int]]:
    """Returns the numbers of the items of each batch, in the order in which they were added.

    Args:
      settings: all settings that affect the tracks: `requests`, and those of the model.
      plans: of the items, by number.
      num_parts: batches of each shape among items that the folder does not have yet.

    Raises:
      ValueError: the folder has tracks of other settings.
    """
    path = output / "settings.json"
    earlier = files.read_json(path) if path.exists() else {"requests": [], "batches": []}
    if path.exists():
        _check_folder(output, earlier, settings)
    batches = [[number for number in batch if number in plans] for batch in earlier["batches"]]
    assigned = {number for batch in batches for number in batch}
    added = [(number, plan) for number, plan in plans.items() if number not in assigned]
    for group in group_by_shape(added):
        batches += split_batch(group, num_parts)
    return [batch for batch in batches if batch]


def write_batches(
    output: Path, settings: Mapping[str, Any], batches: Sequence[Sequence[int]]
) -> None:
    """Writes the settings of a folder and its batches, see `assign_batches`."""
    files.write_json(output / "settings.json", {**settings, "batches": batches})


def _check_folder(output: Path, earlier: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Checks that the requests begin with those of the folder, for the same model."""
    if not {"requests", "batches"} <= earlier.keys():
        raise ValueError(f"{output} has tracks of a single request; take another --output")
    files.check_settings(
        output / "settings.json",
        settings,
        flag="--output",
        may_change=("requests", "batches"),
    )
    requests = settings["requests"]
    for index, (old, new) in enumerate(zip(earlier["requests"], requests, strict=False)):
        if old is None or old == new:
            continue
        names = [name for name in {**old, **(new or {})} if old.get(name) != (new or {}).get(name)]
        name = names[0]
        raise ValueError(
            f"{output} was begun with {name}={old.get(name)} in request {index}, not "
            f"{None if new is None else new.get(name)}; take another --output, or the old value"
        )
    if len(requests) < len(earlier["requests"]):
        raise ValueError(
            f"{output} was begun with {len(earlier['requests'])} requests, and there are "
            f"{len(requests)} now; take another --output, or the old requests"
        )
