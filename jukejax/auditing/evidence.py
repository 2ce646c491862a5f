"""Evidence second by second: what was found in recordings and codes, and where its original is."""

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
    """One kind of evidence.

    Attributes:
      values: float [seconds], -inf where there is none.
      track: int [seconds], of the corpus; -1 where there is none.
      offset: float [seconds], where in that track the like of this second begins.
    """

    values: np.ndarray
    track: np.ndarray
    offset: np.ndarray

    @classmethod
    def none(cls, seconds: int) -> "Evidence":
        return cls(np.full(seconds, -np.inf), np.full(seconds, -1), np.zeros(seconds))

    def note(self, second: int, value: float, track: int, offset: float) -> None:
        """Takes what is found for a second if it is more than what was known."""
        if 0 <= second < len(self.values) and value > self.values[second]:
            self.values[second], self.track[second], self.offset[second] = value, track, offset


def of_hits(hits: Sequence[Hit], seconds: int) -> dict[str, Evidence]:
    """The kinds "votes" and "correlation"; a hit counts for those seconds that it was heard in."""
    votes, correlation = Evidence.none(seconds), Evidence.none(seconds)
    for hit in hits:
        shift = hit.offset_seconds - hit.second
        for second in range(round(hit.heard[0]), max(round(hit.heard[1]), 1)):
            votes.note(second, hit.votes, hit.track, second + shift)
        for second in hit.same:
            correlation.note(second, hit.correlation, hit.track, second + shift)
    return {"votes": votes, "correlation": correlation}


def of_runs(runs: Runs, seconds: int, rate: float) -> Evidence:
    """ "run_bits"; a run counts for the seconds of which it fills half, or for the one it is in.

    Args:
      rate: codes a second.
    """
    found = Evidence.none(seconds)
    rows = zip(runs.start, runs.length, runs.track, runs.offset, runs.bits, strict=True)
    for start, length, track, offset, bits in rows:
        first, last = start / rate, (start + length) / rate
        covered = range(round(first), round(last)) or (int((first + last) / 2),)
        for second in covered:
            found.note(second, bits, track, second + offset / rate - first)
    return found


def of_nearest(
    nearest: Mapping[int, Nearest], index: CodeIndex, seconds: int, rate: float
) -> dict[str, Evidence]:
    """For each length of window "nearness_LENGTH".

    A window counts for those of its seconds that are near on their own, `OWN_SHARE` as near as all
    of it.
    """
    result = {}
    for length, best in nearest.items():
        found = result[f"nearness_{length}"] = Evidence.none(seconds)
        track, offset = index.locate(best.at)
        for s in np.nonzero(np.isfinite(best.nearness))[0]:
            own = best.by_second[s] >= OWN_SHARE * best.nearness[s]
            for step in np.nonzero(own)[0]:
                there = offset[s] / rate + step
                found.note(s + step, best.nearness[s], track[s], there)
    return result


def stronger(known: Mapping[str, Evidence], found: Mapping[str, Evidence]) -> dict[str, Evidence]:
    """By kind and second, whichever of the two is more."""
    result = dict(known)
    for kind, new in found.items():
        old = result.get(kind)
        result[kind] = new if old is None else _stronger(old, new)
    return result


def _stronger(old: Evidence, new: Evidence) -> Evidence:
    size = min(len(old.values), len(new.values))  # a later grid may hold a second less
    result = Evidence(old.values.copy(), old.track.copy(), old.offset.copy())
    for s in range(size):
        result.note(s, new.values[s], new.track[s], new.offset[s])
    return result


@dataclass(frozen=True)
class Passage:
    """Seconds in a row that share their verdict and their original.

    Attributes:
      start, end: seconds; `end` is the first one behind it.
      track: of the corpus; -1 if unknown.
      offset_seconds: where in the track the passage begins.
      strongest: the second with the strongest evidence; the place is by that.
    """

    start: int
    end: int
    track: int
    offset_seconds: float
    strongest: Second

    @property
    def verdict(self) -> str:
        return self.strongest.verdict


def passages(seconds: Sequence[Second], evidence: Mapping[str, Evidence]) -> list[Passage]:
    """The passages of a sound that are not `NOVEL`."""
    found: list[Passage] = []
    for s, second in enumerate(seconds):
        if not second.because:
            continue
        source = evidence[second.because]
        here = Passage(s, s + 1, int(source.track[s]), float(source.offset[s]), second)
        last = found[-1] if found else None
        if last and (last.end, last.verdict, last.track) == (s, here.verdict, here.track):
            found[-1] = _joined(last, here)
        else:
            found.append(here)
    return found


def _joined(last: Passage, here: Passage) -> Passage:
    """Two passages, one behind the other, as one; the stronger one knows the place."""
    if here.strongest.reach > last.strongest.reach:
        start = here.offset_seconds - (here.start - last.start)
        return Passage(last.start, here.end, last.track, start, here.strongest)
    return dataclasses.replace(last, end=here.end)
