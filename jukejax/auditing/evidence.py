"""Evidence of copying for each second of a sound, and passages of such seconds."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jukejax.analysis.code_index import CodeIndex, Runs
from jukejax.analysis.verdict import Second
from jukejax.auditing.code_distance import Nearest
from jukejax.auditing.recordings import OWN_SHARE, Hit


@dataclass(frozen=True)
class Evidence:
    """One kind of evidence for each second.

    Attributes:
      values: float [seconds], -inf without evidence.
      track: int [seconds], of the corpus; -1 without evidence.
      offset: float [seconds], the second of that track at which the similar passage begins.
    """

    values: np.ndarray
    track: np.ndarray
    offset: np.ndarray

    @classmethod
    def empty(cls, seconds: int) -> "Evidence":
        """Returns empty evidence for a number of seconds."""
        return cls(np.full(seconds, -np.inf), np.full(seconds, -1), np.zeros(seconds))

    def raise_to(self, second: int, value: float, track: int, offset: float) -> None:
        """Replaces the evidence of a second if the new value is higher."""
        if 0 <= second < len(self.values) and value > self.values[second]:
            self.values[second], self.track[second], self.offset[second] = value, track, offset


def from_hits(hits: Sequence[Hit], seconds: int) -> dict[str, Evidence]:
    """Returns the kinds "votes" and "correlation"; a hit applies to the seconds that it matches."""
    votes, correlation = Evidence.empty(seconds), Evidence.empty(seconds)
    for hit in hits:
        shift = hit.offset_seconds - hit.second
        for second in range(round(hit.matched[0]), max(round(hit.matched[1]), 1)):
            votes.raise_to(second, hit.votes, hit.track, second + shift)
        for second in hit.same:
            correlation.raise_to(second, hit.correlation, hit.track, second + shift)
    return {"votes": votes, "correlation": correlation}


def from_runs(runs: Runs, seconds: int, rate: float) -> Evidence:
    """Returns the kind "run_bits"; a run applies to the seconds of which it covers half or more.

    A shorter run applies to the second that contains it.

    Args:
      rate: codes per second.
    """
    evidence = Evidence.empty(seconds)
    rows = zip(runs.start, runs.length, runs.track, runs.offset, runs.bits, strict=True)
    for start, length, track, offset, bits in rows:
        first, last = start / rate, (start + length) / rate
        covered = range(round(first), round(last)) or (int((first + last) / 2),)
        for second in covered:
            evidence.raise_to(second, bits, track, second + offset / rate - first)
    return evidence


def from_nearest(
    nearest: Mapping[int, Nearest], index: CodeIndex, seconds: int, rate: float
) -> dict[str, Evidence]:
    """Returns the kind "nearness_LENGTH" for each length of window.

    A window applies to those of its seconds whose nearness is at least `OWN_SHARE` of the
    window's.
    """
    result = {}
    for length, best in nearest.items():
        evidence = result[f"nearness_{length}"] = Evidence.empty(seconds)
        track, offset = index.locate(best.at)
        for s in np.nonzero(np.isfinite(best.nearness))[0]:
            is_near = best.by_second[s] >= OWN_SHARE * best.nearness[s]
            for step in np.nonzero(is_near)[0]:
                original = offset[s] / rate + step
                evidence.raise_to(int(s + step), best.nearness[s], track[s], original)
    return result


def merge_evidence(
    first: Mapping[str, Evidence], second: Mapping[str, Evidence]
) -> dict[str, Evidence]:
    """Returns the higher evidence of two for each kind and second."""
    result = dict(first)
    for kind, new in second.items():
        old = result.get(kind)
        result[kind] = new if old is None else _take_higher(old, new)
    return result


def _take_higher(old: Evidence, new: Evidence) -> Evidence:
    size = min(len(old.values), len(new.values))  # another grid may have one second less
    result = Evidence(old.values.copy(), old.track.copy(), old.offset.copy())
    for s in range(size):
        result.raise_to(s, new.values[s], new.track[s], new.offset[s])
    return result


@dataclass(frozen=True)
class Passage:
    """Consecutive seconds with the same verdict and original.

    Attributes:
      start, end: seconds; `end` is exclusive.
      track: of the corpus; -1 if unknown.
      offset_seconds: the second of the track at which the passage begins.
      strongest: the second with the strongest evidence, which determines the position.
    """

    start: int
    end: int
    track: int
    offset_seconds: float
    strongest: Second

    @property
    def verdict(self) -> str:
        return self.strongest.verdict


def find_passages(seconds: Sequence[Second], evidence: Mapping[str, Evidence]) -> list[Passage]:
    """Returns the passages of a sound that are not `NOVEL`."""
    passages: list[Passage] = []
    for s, second in enumerate(seconds):
        if not second.because:
            continue
        source = evidence[second.because]
        current = Passage(s, s + 1, int(source.track[s]), float(source.offset[s]), second)
        last = passages[-1] if passages else None
        if last and (last.end, last.verdict, last.track) == (s, current.verdict, current.track):
            passages[-1] = _join_passages(last, current)
        else:
            passages.append(current)
    return passages


def _join_passages(last: Passage, following: Passage) -> Passage:
    """Joins two adjacent passages; the position is that of the stronger one."""
    if following.strongest.reach > last.strongest.reach:
        start = following.offset_seconds - (following.start - last.start)
        return Passage(last.start, following.end, last.track, start, following.strongest)
    return dataclasses.replace(last, end=following.end)
