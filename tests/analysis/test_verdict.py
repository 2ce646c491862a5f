"""Verdicts: thresholds above what held-out music reaches, prompts apart, only what lasts counts."""

import numpy as np
import pytest

from jukejax.analysis.verdict import (
    COPIED,
    NOVEL,
    PROMPT,
    RULES,
    SIMILAR,
    Rule,
    Second,
    Thresholds,
    compute_shares,
    judge_overall,
    judge_seconds,
    mark_prompt,
)


def test_thresholds_exceed_the_evidence_of_held_out_windows():
    null = np.concatenate([np.full(199, 20.0), [30.0]])
    found = Rule(similar=(10, 99), copied=(16, 99), margin=0.1).derive_thresholds(null)
    assert (found.similar, found.copied) == pytest.approx((33, 36))
    bounded = Rule((0.5, 0.9), (0.6, 0.9), margin=0.2, ends_at_1=True).derive_thresholds([0.6] * 9)
    assert (bounded.similar, bounded.copied) == pytest.approx((0.68, 0.76))


@pytest.mark.parametrize("kind", RULES)
def test_thresholds_stay_within_their_bounds(kind):
    rule = RULES[kind]
    blind = [1.0 if rule.ends_at_1 else 1e9] * 50  # the held-out tracks are themselves copies
    for null in ([], [-np.inf] * 5, [0.0] * 50, blind):
        found = rule.derive_thresholds(null)
        assert rule.similar[0] <= found.similar <= rule.similar[1]
        assert rule.copied[0] <= found.copied <= rule.copied[1]
        assert found.similar < found.copied


def test_the_chance_of_a_value_is_counted_among_held_out_windows():
    found = Thresholds(1, 2, null=(1.0, 2.0, 3.0, 4.0))
    assert [found.estimate_chance(v) for v in (0, 3, 9)] == [1.0, 3 / 5, 1 / 5]
    assert Thresholds(1, 2, null=()).estimate_chance(5) is None


def test_one_kind_of_evidence_suffices_and_the_strongest_is_named():
    thresholds = {"votes": Thresholds(10, 20, ()), "correlation": Thresholds(0.5, 0.7, ())}
    evidence = {"votes": np.array([3, 12, 25]), "correlation": np.array([0.1, 0.1, 0.65, 0.9])}
    found = judge_seconds(evidence, thresholds)
    assert [s.verdict for s in found] == [NOVEL, SIMILAR, COPIED, COPIED]
    assert [s.because for s in found] == ["", "votes", "votes", "correlation"]
    assert judge_seconds({"votes": np.full(2, -np.inf)}, thresholds) == [Second(NOVEL)] * 2


def test_only_verdicts_of_two_seconds_count_overall():
    def of(letters):
        names = {"n": NOVEL, "s": SIMILAR, "c": COPIED, "p": PROMPT}
        return judge_overall([Second(names[letter]) for letter in letters])

    assert of("nncncnsn") == NOVEL
    assert of("nnscn") == SIMILAR
    assert of("nnccn") == COPIED
    assert of("ppppn") == NOVEL
    assert of("c") == COPIED
    assert of("") == NOVEL


def test_the_prompt_is_marked():
    seconds = mark_prompt([Second(COPIED)] * 5 + [Second(NOVEL)] * 5, 4.2)
    assert [s.verdict for s in seconds] == [PROMPT] * 5 + [NOVEL] * 5
    assert judge_overall(seconds) == NOVEL
    assert compute_shares(seconds) == {NOVEL: 1.0, SIMILAR: 0.0, COPIED: 0.0}
