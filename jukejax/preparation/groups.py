"""Near-duplicates among the tracks of a corpus, and the split that keeps them together.

Near-duplicates are copies, re-encodes, excerpts and edits of a recording, a DJ mix and a track in
it, a song and its dub: if one of two is in the training split and the other is held out, the
held-out loss is that of a copy. Tracks that share a drum kit, a loop or a tempo are different
recordings, and are not grouped.
"""

import hashlib
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jukejax.analysis.fingerprint import FRAMES_PER_SECOND, Index, Landmarks

SECOND = round(FRAMES_PER_SECOND)  # frames compared at a time
# A second of two recordings is equal under three conditions:
MIN_SHARE = 0.08  # share of its landmarks that are common to both, at least;
MIN_NEW = 3  # number of these that no earlier second has in common, at least;
MIN_STEADY = 3  # number of equal seconds among the five around it, at least.
MIN_VOTES = 24  # smallest number of votes of an offset that is compared
MAX_OFFSETS = 16  # largest number of offsets, that of the cuts of an edit; loops have hundreds
# Two tracks are grouped if they share GROUP_SECONDS of different material, or GROUP_SHARE of the
# shorter one if that is less, but at least MIN_GROUP_SECONDS: house tracks with the same drum kit
# and tempo share up to 5 s.
GROUP_SECONDS = 12
GROUP_SHARE = 0.5
MIN_GROUP_SECONDS = 6
MAX_HELDOUT_LENGTH = 4  # largest length of a group that is held out, by the median of the groups

_BIAS = 1 << 30  # makes offsets positive


@dataclass(frozen=True)
class Link:
    """Two tracks that share a recording.

    Attributes:
      a, b: their indices; a < b.
      votes: number of common landmarks.
      offset_seconds: position in `a` of the start of `b`, by most of the votes.
      seconds: length of the material of `b` in `a`, to the second; a loop counts once.
    """

    a: int
    b: int
    votes: int
    offset_seconds: float
    seconds: float


def find_near_duplicates(landmarks: Sequence[Landmarks]) -> tuple[list[int], list[Link]]:
    """Finds the tracks that share a recording.

    Returns:
      The group of each track (the index of the group's first track), and the links between tracks.
    """
    index = Index.build(landmarks)
    group = list(range(len(landmarks)))
    links = []
    for b, query in enumerate(landmarks):
        for link in _find_links(index, landmarks, b, query):
            links.append(link)
            first, second = sorted((group[link.a], group[b]))
            group = [first if number == second else number for number in group]
    return group, sorted(links, key=lambda link: (link.a, link.b))


def _find_links(
    index: Index, landmarks: Sequence[Landmarks], b: int, query: Landmarks
) -> Iterator[Link]:
    """Yields links to the earlier tracks that share a recording with track `b`."""
    votes = index.find_votes(query, before=b)
    track, offset, row = votes.track, votes.offset, votes.row
    key = track << 32 | (offset + _BIAS)
    values, count = np.unique(key, return_counts=True)
    strong = values[count >= MIN_VOTES]
    near = np.isin(key, np.concatenate([strong - 1, strong, strong + 1]))
    track, offset, row = track[near], offset[near], row[near]
    for a in np.unique(track):
        of_track = track == a
        link = _compare_tracks(int(a), landmarks[a], b, query, offset[of_track], row[of_track])
        if link is not None:
            yield link


def _compare_tracks(
    a: int, track: Landmarks, b: int, query: Landmarks, offset: np.ndarray, row: np.ndarray
) -> Link | None:
    """Compares track `a` with track `b` at their strongest offsets; None if they are not linked."""
    length = min(track.frames, query.frames) / FRAMES_PER_SECOND
    needed = min(GROUP_SECONDS, max(MIN_GROUP_SECONDS, GROUP_SHARE * length))
    counted = np.zeros(0, np.uint32)  # hashes counted in earlier seconds
    votes, same_in_all = 0, np.zeros(query.frames // SECOND + 1, bool)
    values, count = np.unique(offset, return_counts=True)
    best = int(values[count.argmax()])
    for _ in range(MAX_OFFSETS):
        values, count = np.unique(offset, return_counts=True)
        if count.max(initial=0) < MIN_VOTES:
            break
        value = values[count.argmax()]
        at = np.abs(offset - value) <= 1
        rows = np.unique(row[at])
        offset, row = offset[~at], row[~at]
        same = _same_seconds(track, query, int(value), rows)
        rows = rows[same[query.times[rows] // SECOND]]
        new = rows[~np.isin(query.hashes[rows], counted)]
        new = new[np.unique(query.hashes[new], return_index=True)[1]]
        each = np.bincount(query.times[new] // SECOND, minlength=len(same_in_all))
        same_in_all |= each >= MIN_NEW
        votes += len(new)
        counted = np.union1d(counted, query.hashes[new])
    seconds = float(same_in_all.sum())
    if seconds < needed:
        return None
    return Link(a, b, votes, round(best / FRAMES_PER_SECOND, 2), seconds)


def _same_seconds(track: Landmarks, query: Landmarks, offset: int, rows: np.ndarray) -> np.ndarray:
    """Compares each second of the query with the track `offset` frames later.

    Args:
      rows: landmarks of the query that both have.

    Returns:
      bool [seconds of the query], True for equal seconds.
    """
    size = query.frames // SECOND + 1
    in_query = np.bincount(query.times // SECOND, minlength=size)
    times = track.times[(track.times >= offset) & (track.times < offset + size * SECOND)]
    in_track = np.bincount((times - offset) // SECOND, minlength=size)
    shared = np.bincount(query.times[rows] // SECOND, minlength=size)
    same = (shared >= MIN_NEW) & (shared >= MIN_SHARE * np.maximum(in_query, in_track))
    near = np.convolve(same, np.ones(5, int))[2:-2]  # mode "same" pads tracks shorter than 5 s
    return same & (near >= MIN_STEADY)


def draw_heldout(
    contents: Sequence[str],
    fraction: float,
    groups: Sequence[int] | None = None,
    lengths: Sequence[int] | None = None,
) -> list[bool]:
    """Draws the tracks to hold out, by the content of each group, and never a very long group.

    The draw of a group depends on the smallest hash among its tracks: the split of a track without
    near-duplicates does not depend on other tracks; that of a group may change when a track is
    added to it. Exceptions: each split gets at least one group if there are two or more, and a
    group longer than `MAX_HELDOUT_LENGTH` times the median group (the lower of two middle ones) is
    not held out. A mix of 2 hours among songs would else be the whole held-out set, or most of the
    music would be lost for training.

    Args:
      contents: sha256 of each track.
      fraction: share of the groups to hold out, by number.
      groups: the group of each track; None: each track is a group.
      lengths: samples of each track; None: all are equally long.

    Raises:
      ValueError: the fraction is not in [0, 1).
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
    eligible = _find_eligible(groups, lengths)
    heldout = {group: group in eligible and draw < fraction for group, draw in draws.items()}
    if fraction > 0 and len(heldout) > 1:
        heldout[min(eligible, key=draws.__getitem__)] = True
        if all(heldout.values()):
            heldout[max(draws, key=draws.__getitem__)] = False
    return [heldout[group] for group in groups]


def _find_eligible(groups: Sequence[int], lengths: Sequence[int] | None) -> set[int]:
    """Returns the groups that are short enough to be held out."""
    if lengths is None or not groups:
        return set(groups)
    totals: Counter[int] = Counter()
    for group, length in zip(groups, lengths, strict=True):
        totals[group] += length
    longest = MAX_HELDOUT_LENGTH * statistics.median_low(totals.values())
    return {group for group, total in totals.items() if total <= longest}
