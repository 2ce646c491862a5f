"""Results of a listening test: preferences and ratings with 95 % intervals.

A preference is a share of answers with its exact interval (Clopper and Pearson, 1934) and the
two-sided binomial test against chance. A rating is the mean over sounds, each the mean of its
listeners, with Student's interval; the difference of two sets is Welch's (1947).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from jukejax.common import files
from jukejax.common.formatting import format_count
from jukejax.evaluation.bootstrap import CONFIDENCE
from jukejax.pages.listening import RATINGS


@dataclass(frozen=True)
class Answers:
    """The answers of one listener.

    Attributes:
      listener: name; "" if none is given.
      values: id of the preferred sound, or rating, by the number of the trial.
    """

    listener: str
    values: dict[int, Any]


def read_answers(path: Path, key: Mapping[str, Any]) -> Answers:
    """Reads a file of the page of a test.

    Args:
      key: content of the test's key.json.

    Raises:
      ValueError: it is no such file, or it belongs to another test.
    """
    content = files.read_json(path)
    if content.get("test") != key["test"]:
        raise ValueError(
            f"--answers={path} belongs to test {content.get('test')}, and the key of --output to "
            f"{key['test']}"
        )
    values: dict[int, Any] = {}
    try:
        for answer in content["answers"]:
            trial = answer["trial"]
            is_ab = key["mode"] == "ab"
            value = answer["choice" if is_ab else "rating"]
            clips = key["trials"][trial]
            allowed = clips if is_ab else range(1, len(RATINGS) + 1)
            if isinstance(trial, bool) or trial < 0 or isinstance(value, bool):
                raise ValueError(f"trial {trial!r}, answer {value!r}")
            if trial in values or value not in allowed:
                raise ValueError(f"answer {value!r} to trial {trial}")
            values[trial] = value
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"--answers={path} holds no answers of this test: {error}") from error
    if not values:
        raise ValueError(f"--answers={path} holds no answers")
    return Answers(str(content.get("listener") or ""), values)


def read_all_answers(paths: Sequence[str], key: Mapping[str, Any]) -> list[Answers]:
    """Reads the files of several listeners.

    Raises:
      ValueError: one cannot be used, or two are of the same listener.
    """
    answers = [read_answers(Path(path), key) for path in paths]
    for label, names in (
        ("file", [str(Path(path).resolve()) for path in paths]),
        ("listener", [own.listener for own in answers if own.listener]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                raise ValueError(f"--answers counts the {label} {name} {count} times; remove some")
    return answers


def summarize_answers(key: Mapping[str, Any], answers: Sequence[Answers]) -> list[str]:
    """Returns the lines of the result."""
    count = sum(len(own.values) for own in answers)
    trials = format_count(len({trial for own in answers for trial in own.values}), "trial")
    lines = [
        f"{format_count(count, 'answer')} of {format_count(len(answers), 'listener')} to {trials}"
    ]
    lines += (
        _summarize_choices(key, answers)
        if key["mode"] == "ab"
        else (_summarize_ratings(key, answers))
    )
    return [_print_safely(line) for line in lines]


def _summarize_choices(key: Mapping[str, Any], answers: Sequence[Answers]) -> Iterator[str]:
    """Yields the lines of a test with pairs."""
    first, second = key["sets"]
    choices = [(trial, choice) for own in answers for trial, choice in own.values.items()]
    preferred = [key["clips"][choice]["set"] == 0 for _, choice in choices]
    yield f"{first} is preferred to {second}: {_format_share(preferred)}"
    p_value = stats.binomtest(sum(preferred), len(preferred)).pvalue
    yield f"by chance alone as far from one half or farther: p = {p_value:.2g}"
    if len(answers) > 1:
        for number, own in enumerate(answers, start=1):
            name = own.listener or f"listener {number}"
            shares = [key["clips"][choice]["set"] == 0 for choice in own.values.values()]
            yield f"  {name}: {_format_share(shares)}"
        yield "answers of several listeners to one pair are not independent: see each listener"
    sides = [key["trials"][trial].index(choice) == 0 for trial, choice in choices]
    yield f"side A is preferred, whatever it holds: {_format_share(sides)}"


def _format_share(values: Sequence[bool]) -> str:
    count, total = sum(values), len(values)
    limits = stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="exact")
    interval = f"95 % interval {100 * limits.low:.0f} to {100 * limits.high:.0f} %"
    return f"{count} of {total}, {100 * count / total:.0f} % ({interval})"


def _summarize_ratings(key: Mapping[str, Any], answers: Sequence[Answers]) -> Iterator[str]:
    """Yields the lines of a test with ratings."""
    ratings: dict[str, list[int]] = defaultdict(list)
    for own in answers:
        for trial, rating in own.values.items():
            ratings[key["trials"][trial][0]].append(rating)
    means: list[list[float]] = [[] for _ in key["sets"]]
    for clip, values in ratings.items():
        means[key["clips"][clip]["set"]].append(float(np.mean(values)))
    for path, clip_means in zip(key["sets"], means, strict=True):
        yield f"{path}: {_format_mean(clip_means)}"
    if len(means) == 2 and all(means):
        yield f"difference: {_format_difference(*means)}"


def _format_mean(values: Sequence[float]) -> str:
    if not values:
        return "no answers"
    text = f"mean rating {np.mean(values):.2f} of {len(RATINGS)} over "
    text += format_count(len(values), "sound")
    if len(values) < 2:
        return text
    error = stats.sem(values)
    half = error * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return f"{text} (95 % interval {np.mean(values) - half:.2f} to {np.mean(values) + half:.2f})"


def _format_difference(first: Sequence[float], second: Sequence[float]) -> str:
    text = f"{np.mean(first) - np.mean(second):+.2f}"
    if min(len(first), len(second)) < 2 or np.ptp(first) == np.ptp(second) == 0:
        return f"{text} (too few sounds, or too equal, for an interval)"
    limits = stats.ttest_ind(first, second, equal_var=False).confidence_interval(CONFIDENCE)
    return f"{text} (95 % interval {limits.low:+.2f} to {limits.high:+.2f})"


def _print_safely(line: str) -> str:
    """Replaces control characters, of names that come from files, by escapes."""
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in line
    )
