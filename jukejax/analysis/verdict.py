"""From evidence to a verdict: `novel`, `similar` or `copied`, by second and as a whole.

Each kind of evidence is a number for each second, the higher the more alike. What a corpus has in
common with music that is not in it (the same drum machine, the same loop) differs between corpora,
so that thresholds come from its own held-out tracks: they lie, by a margin, above what one in 200
of their windows reaches. `RULES` bounds them, because held-out tracks may be few, or copies.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

NOVEL, SIMILAR, COPIED, PROMPT = "novel", "similar", "copied", "prompt"
QUANTILE = 0.995  # of the held-out windows
LASTING = 2  # seconds in a row; any passage of 3 s holds two whole ones


@dataclass(frozen=True)
class Rule:
    """How thresholds follow from the `QUANTILE` q of held-out windows.

    Attributes:
      similar, copied: lowest and highest value of each threshold.
      margin: what is added to q for `similar`, and twice that for `copied`: a share of q or, for
        evidence that ends at 1, a share of what is left up to 1.
      ends_at_1: whether it does.
    """

    similar: tuple[float, float]
    copied: tuple[float, float]
    margin: float
    ends_at_1: bool = False

    def thresholds(self, null: Sequence[float]) -> "Thresholds":
        known = np.asarray(null, float)
        known = known[np.isfinite(known)]
        if not len(known):
            return Thresholds(self.similar[0], self.copied[0], null=())
        q = float(np.quantile(known, QUANTILE, method="higher"))
        step = self.margin * (1 - q if self.ends_at_1 else q)
        return Thresholds(
            float(np.clip(q + step, *self.similar)),
            float(np.clip(q + 2 * step, *self.copied)),
            tuple(np.sort(known).tolist()),
        )


RULES = {
    "votes": Rule(similar=(10, 24), copied=(16, 40), margin=0.15),
    "correlation": Rule(similar=(0.5, 0.68), copied=(0.65, 0.75), margin=0.1, ends_at_1=True),
    "run_bits": Rule(similar=(60, 300), copied=(90, 600), margin=0.25),
    "nearness_1": Rule(similar=(0.7, 0.98), copied=(0.85, 0.99), margin=0.3, ends_at_1=True),
    "nearness_3": Rule(similar=(0.5, 0.9), copied=(0.65, 0.95), margin=0.3, ends_at_1=True),
    "nearness_9": Rule(similar=(0.5, 0.9), copied=(0.65, 0.95), margin=0.3, ends_at_1=True),
}
WHAT = {
    "votes": "landmarks in common",
    "correlation": "correlation of the waveforms",
    "run_bits": "surprise of the longest run of the same codes, in bits",
    "nearness_1": "nearness of the codes over 1 s",
    "nearness_3": "nearness of the codes over 3 s",
    "nearness_9": "nearness of the codes over 9 s",
}


@dataclass(frozen=True)
class Thresholds:
    """What evidence must reach.

    Attributes:
      null: its values for held-out windows, in order.
    """

    similar: float
    copied: float
    null: tuple[float, ...]

    def chance(self, value: float) -> float | None:
        """At most this share of held-out windows reaches `value`; None without any."""
        if not self.null:
            return None
        above = len(self.null) - np.searchsorted(self.null, value, "left")
        return (1 + int(above)) / (1 + len(self.null))


@dataclass(frozen=True)
class Second:
    """One second of a sound.

    Attributes:
      verdict: `NOVEL`, `SIMILAR`, `COPIED`, or `PROMPT` where it was given by the user.
      because: the kind of evidence that went furthest beyond its thresholds; "" if none did.
      value: of that evidence.
      reach: how far it went: 1 at the threshold of `SIMILAR`, 2 at that of `COPIED`.
      chance: of a held-out window with as much (see `Thresholds.chance`).
    """

    verdict: str
    because: str = ""
    value: float = 0.0
    reach: float = 0.0
    chance: float | None = None


def judge(evidence: Mapping[str, np.ndarray], thresholds: Mapping[str, Thresholds]) -> list[Second]:
    """By second; evidence [seconds] of each kind."""
    seconds = max((len(values) for values in evidence.values()), default=0)
    return [
        _judge_second({kind: v[s] for kind, v in evidence.items() if s < len(v)}, thresholds)
        for s in range(seconds)
    ]


def _judge_second(values: Mapping[str, float], thresholds: Mapping[str, Thresholds]) -> Second:
    best = Second(NOVEL)
    for kind, value in values.items():
        limit = thresholds[kind]
        reach = 1 + (value - limit.similar) / (limit.copied - limit.similar)
        if value >= limit.similar and reach > best.reach:
            verdict = COPIED if value >= limit.copied else SIMILAR
            best = Second(verdict, kind, float(value), float(reach), limit.chance(value))
    return best


def set_apart(seconds: Sequence[Second], prompt_seconds: float) -> list[Second]:
    """Marks what the user gave: those seconds say nothing of the model."""
    # A second that is given in part is the user's: what is found in it may be from the prompt.
    return [
        dataclasses.replace(second, verdict=PROMPT) if i < prompt_seconds else second
        for i, second in enumerate(seconds)
    ]


def overall(seconds: Sequence[Second]) -> str:
    """The verdict on the whole: what lasts for `LASTING` seconds in a row."""
    for verdict, enough in ((COPIED, {COPIED}), (SIMILAR, {COPIED, SIMILAR})):
        lasting = 0
        for second in seconds:
            lasting = lasting + 1 if second.verdict in enough else 0
            if lasting == min(LASTING, len(seconds)):
                return verdict
    return NOVEL


def shares(seconds: Sequence[Second]) -> dict[str, float]:
    """The share of each verdict among the seconds that the model made."""
    made = [second.verdict for second in seconds if second.verdict != PROMPT]
    return {
        verdict: round(made.count(verdict) / max(len(made), 1), 4)
        for verdict in (NOVEL, SIMILAR, COPIED)
    }
