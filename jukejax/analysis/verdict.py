"""Verdicts from evidence of copying: `novel`, `similar` or `copied`, by second and overall.

Each kind of evidence is a number per second; higher means more similar. The similarity of a corpus
to other music (the same drum machine, the same loop) differs between corpora, so that thresholds
are derived from its held-out tracks: they exceed, by a margin, the value that one in 200 of their
windows reaches. `RULES` limits them, as held-out tracks may be few, or copies.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

NOVEL, SIMILAR, COPIED, PROMPT = "novel", "similar", "copied", "prompt"
QUANTILE = 0.995  # quantile of the held-out windows
LASTING = 2  # consecutive seconds: any passage of 3 s contains two complete seconds


@dataclass(frozen=True)
class Rule:
    """The derivation of thresholds from the `QUANTILE` q of held-out windows.

    Attributes:
      similar, copied: lowest and highest value of each threshold.
      margin: added to q for `similar`, and twice for `copied`, as a share of q or, for evidence
        that is at most 1, of 1 - q.
      ends_at_1: True if the evidence is at most 1.
    """

    similar: tuple[float, float]
    copied: tuple[float, float]
    margin: float
    ends_at_1: bool = False

    def derive_thresholds(self, null: Sequence[float]) -> "Thresholds":
        """Derives thresholds from the evidence of held-out windows."""
        values = np.asarray(null, float)
        values = values[np.isfinite(values)]
        if not len(values):
            return Thresholds(self.similar[0], self.copied[0], null=())
        q = float(np.quantile(values, QUANTILE, method="higher"))
        step = self.margin * (1 - q if self.ends_at_1 else q)
        return Thresholds(
            float(np.clip(q + step, *self.similar)),
            float(np.clip(q + 2 * step, *self.copied)),
            tuple(np.sort(values).tolist()),
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
    """The least evidence for each verdict.

    Attributes:
      null: sorted values of held-out windows.
    """

    similar: float
    copied: float
    null: tuple[float, ...]

    def estimate_chance(self, value: float) -> float | None:
        """Returns an upper bound of the share of held-out windows that reach `value`.

        None without held-out windows.
        """
        if not self.null:
            return None
        above = len(self.null) - np.searchsorted(self.null, value, "left")
        return (1 + int(above)) / (1 + len(self.null))


@dataclass(frozen=True)
class Second:
    """The verdict on one second of a sound.

    Attributes:
      verdict: `NOVEL`, `SIMILAR`, `COPIED`, or `PROMPT` for the user's prompt.
      because: the kind of evidence that exceeds its thresholds most; "" if none does.
      value: value of that evidence.
      reach: the value on a scale of 1 at the threshold of `SIMILAR` and 2 at that of `COPIED`.
      chance: share of held-out windows with that value (see `Thresholds.estimate_chance`).
    """

    verdict: str
    because: str = ""
    value: float = 0.0
    reach: float = 0.0
    chance: float | None = None


def judge_seconds(
    evidence: Mapping[str, np.ndarray], thresholds: Mapping[str, Thresholds]
) -> list[Second]:
    """Returns the verdict on each second, given evidence [seconds] of each kind."""
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
            best = Second(verdict, kind, float(value), float(reach), limit.estimate_chance(value))
    return best


def mark_prompt(seconds: Sequence[Second], prompt_seconds: float) -> list[Second]:
    """Marks the seconds of the user's prompt, which are no evidence about the model."""
    # A second that overlaps the prompt is marked, as its matches may be in the prompt.
    return [
        dataclasses.replace(second, verdict=PROMPT) if i < prompt_seconds else second
        for i, second in enumerate(seconds)
    ]


def judge_overall(seconds: Sequence[Second]) -> str:
    """Returns the strongest verdict of at least `LASTING` consecutive seconds."""
    for verdict, sufficient in ((COPIED, {COPIED}), (SIMILAR, {COPIED, SIMILAR})):
        length = 0
        for second in seconds:
            length = length + 1 if second.verdict in sufficient else 0
            if length == min(LASTING, len(seconds)):
                return verdict
    return NOVEL


def compute_shares(seconds: Sequence[Second]) -> dict[str, float]:
    """Computes the share of each verdict among the generated seconds."""
    verdicts = [second.verdict for second in seconds if second.verdict != PROMPT]
    return {
        verdict: round(verdicts.count(verdict) / max(len(verdicts), 1), 4)
        for verdict in (NOVEL, SIMILAR, COPIED)
    }
