"""Near-duplicates among the tracks of a corpus, and the split that keeps them together.

The same recording twice, a re-encode, a cut, an edit, a DJ mix and a track in it, a song and its
dub: if one is trained on and the other held out, the held-out loss is that of a copy. Tracks that
share a drum kit, a loop or a tempo are not the same recording, and are not grouped.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jukejax.analysis.fingerprint import FRAMES_PER_SECOND, Index, Landmarks

SECOND = round(FRAMES_PER_SECOND)  # frames in which two recordings are compared at a time
SHARE = 0.08  # of the landmarks of a second, which both must have for it to be the same
NEW = 3  # landmarks of it, at least, that the two did not share in an earlier second
STEADY = 3  # seconds of the five around it, itself one of them, that are the same as well
STRONG = 24  # votes that an offset needs to be looked at
OFFSETS = 16  # at most, the strongest: an edit has as many cuts, a loop has hundreds of offsets
SECONDS = 12  # of different material that two tracks must share to be grouped,
PART = 0.5  # or this part of the shorter if that is less,
LEAST = 6  # but no less than this: house tracks with one drum kit and tempo share up to 5 s

_BIAS = 1 << 30  # makes offsets positive


@dataclass(frozen=True)
class Link:
    """Two tracks found to share a recording.

    Attributes:
      a, b: their numbers; a < b.
      votes: landmarks in common.
      offset_seconds: where in `a` the start of `b` lies, by most of the votes.
      seconds: how much of `b` is in `a`, to the second; a loop counts once.
    """

    a: int
    b: int
    votes: int
    offset_seconds: float
    seconds: float


def near_duplicates(landmarks: Sequence[Landmarks]) -> tuple[list[int], list[Link]]:
    """Finds the tracks that share a recording.

    Returns:
      The group of each track, which is the number of the first track of the group, and the links
      that made the groups.
    """
    index = Index.build(landmarks)
    group = list(range(len(landmarks)))
    links = []
    for b, query in enumerate(landmarks):
        for link in _links(index, landmarks, b, query):
            links.append(link)
            first, second = sorted((group[link.a], group[b]))
            group = [first if one == second else one for one in group]
    return group, sorted(links, key=lambda link: (link.a, link.b))


def _links(
    index: Index, landmarks: Sequence[Landmarks], b: int, query: Landmarks
) -> Iterator[Link]:
    """The earlier tracks that share a recording with track `b`."""
    votes = index.votes(query)
    earlier = votes.track < b
    track, offset, row = votes.track[earlier], votes.offset[earlier], votes.row[earlier]
    key = track << 32 | (offset + _BIAS)
    values, count = np.unique(key, return_counts=True)
    strong = values[count >= STRONG]
    near = np.isin(key, np.concatenate([strong - 1, strong, strong + 1]))
    track, offset, row = track[near], offset[near], row[near]
    for a in np.unique(track):
        mine = track == a
        link = _compare(int(a), landmarks[a], b, query, offset[mine], row[mine])
        if link is not None:
            yield link


def _compare(
    a: int, track: Landmarks, b: int, query: Landmarks, offset: np.ndarray, row: np.ndarray
) -> Link | None:
    """Track `a` against track `b` at the offsets at which they have much in common."""
    length = min(track.frames, query.frames) / FRAMES_PER_SECOND
    needed = min(SECONDS, max(LEAST, PART * length))
    known = np.zeros(0, np.uint32)  # hashes that a second already counted for
    votes, same_in_all = 0, np.zeros(query.frames // SECOND + 1, bool)
    values, count = np.unique(offset, return_counts=True)
    best = int(values[count.argmax()])
    for _ in range(OFFSETS):
        values, count = np.unique(offset, return_counts=True)
        if count.max(initial=0) < STRONG:
            break
        value = values[count.argmax()]
        at = np.abs(offset - value) <= 1
        rows = np.unique(row[at])
        offset, row = offset[~at], row[~at]
        same = _same_seconds(track, query, int(value), rows)
        rows = rows[same[query.times[rows] // SECOND]]
        new = rows[~np.isin(query.hashes[rows], known)]
        new = new[np.unique(query.hashes[new], return_index=True)[1]]
        each = np.bincount(query.times[new] // SECOND, minlength=len(same_in_all))
        same_in_all |= each >= NEW
        votes += len(new)
        known = np.union1d(known, query.hashes[new])
    seconds = float(same_in_all.sum())
    if seconds < needed:
        return None
    return Link(a, b, votes, round(best / FRAMES_PER_SECOND, 2), seconds)


def _same_seconds(track: Landmarks, query: Landmarks, offset: int, rows: np.ndarray) -> np.ndarray:
    """bool [seconds of the query]: the same recording as the track has `offset` frames later.

    Args:
      rows: the landmarks of the query that both have.
    """
    size = query.frames // SECOND + 1
    mine = np.bincount(query.times // SECOND, minlength=size)
    there = track.times[(track.times >= offset) & (track.times < offset + size * SECOND)]
    theirs = np.bincount((there - offset) // SECOND, minlength=size)
    shared = np.bincount(query.times[rows] // SECOND, minlength=size)
    same = (shared >= NEW) & (shared >= SHARE * np.maximum(mine, theirs))
    return same & (np.convolve(same, np.ones(5, int), "same") >= STEADY)


def heldout_mask(
    contents: Sequence[str], fraction: float, groups: Sequence[int] | None = None
) -> list[bool]:
    """Which tracks to hold out, drawn by the content of each group alone.

    A group draws by the smallest content among its tracks: one without near-duplicates never
    changes sides when others come or go, a group may when a track joins it. One exception: each
    side gets at least one group when there are two or more.

    Args:
      contents: sha256 of each track.
      fraction: share of the groups to hold out, by number.
      groups: the group of each track; without them each is its own.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"--heldout={fraction} must be at least 0 and less than 1")
    groups = range(len(contents)) if groups is None else groups
    first: dict[int, str] = {}
    for content, group in zip(contents, groups, strict=True):
        first[group] = min(first.get(group, content), content)
    draws = {
        group: int(hashlib.sha256(content.encode()).hexdigest()[:13], 16) / 16**13
        for group, content in first.items()
    }
    held = {group: draw < fraction for group, draw in draws.items()}
    if fraction > 0 and len(held) > 1:
        held[min(draws, key=draws.get)] = True
        held[max(draws, key=draws.get)] = False
    return [held[group] for group in groups]
