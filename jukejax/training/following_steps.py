"""Schedules that follow `config.steps`: warm-up, decay and averages keep their share of a run."""

from collections.abc import Container, Mapping

from ml_collections import ConfigDict

# Keys in steps that follow `config.steps`, by group of the config.
FOLLOWING = {
    "optimizer": ("warmup_steps", "decay_start", "decay_steps"),
    "schedule": ("anneal_steps", "smoothing"),
}
WARMUP_PART = 20  # a warm-up of at most 1 / WARMUP_PART of a shorter run keeps its length


def follow_steps(config: ConfigDict, file_values: Mapping, overrides: Container[str]) -> None:
    """Scales the schedule of a config file to another number of steps, in place.

    Args:
      config: with the new `steps`.
      file_values: the config of the file, before the steps changed.
      overrides: keys such as "optimizer.warmup_steps" that were set together with the steps.
    """
    file_steps, steps = file_values.get("steps"), config.get("steps")
    if not all(isinstance(count, int) and count > 0 for count in (file_steps, steps)):
        return
    scaled = _scale_schedule(file_values, steps, steps / file_steps)
    start, length = (f"optimizer.{name}" for name in ("decay_start", "decay_steps"))
    if start in scaled and start in overrides and length in scaled:  # the decay ends where it did
        end = scaled[start] + scaled[length]
        scaled[length] = max(1, end - config.optimizer.decay_start)
    for key, value in scaled.items():
        group, _, name = key.partition(".")
        if key not in overrides:
            config[group][name] = value


def _scale_schedule(values: Mapping, steps: int, ratio: float) -> dict[str, int]:
    """Returns the scaled keys of `FOLLOWING`; values that exceed the run mean never."""
    scaled = {}
    for group, names in FOLLOWING.items():
        settings = values.get(group) or {}
        for name in names:
            value = settings.get(name)
            if isinstance(value, int) and 0 < value <= values["steps"]:
                scaled[f"{group}.{name}"] = max(1, round(value * ratio))
    optimizer = values.get("optimizer") or {}
    if "optimizer.warmup_steps" in scaled:
        shortest = min(optimizer["warmup_steps"], steps // WARMUP_PART)
        scaled["optimizer.warmup_steps"] = max(scaled["optimizer.warmup_steps"], shortest)
    if {"optimizer.decay_start", "optimizer.decay_steps"} <= scaled.keys():
        end = round((optimizer["decay_start"] + optimizer["decay_steps"]) * ratio)
        scaled["optimizer.decay_steps"] = max(1, end - scaled["optimizer.decay_start"])
    return scaled


def keep_schedule(config: Mapping, stored: Mapping) -> dict:
    """Returns a plain config with the keys of `FOLLOWING` of the config that a run began with.

    The schedule follows the steps, which may change between two starts.
    """
    plain = dict(config)
    if config.get("steps") == stored.get("steps"):
        return plain
    for group, names in FOLLOWING.items():
        if group in plain and group in stored:
            old = {name: stored[group][name] for name in names if name in stored[group]}
            plain[group] = {k: v for k, v in plain[group].items() if k not in names} | old
    return plain
