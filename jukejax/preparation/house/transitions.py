"""The transitions between the sections of a house track, and its kicks."""

from typing import NamedTuple

from jukejax.preparation.house.score import Score


class Transition(NamedTuple):
    """A sound of `span` bars from `bar` on: riser | roll | downlifter | crash."""

    kind: str
    bar: int
    span: int


def plan_transitions(score: Score) -> list[Transition]:
    """Draws risers and rolls of 1, 2 or 4 bars before drops, and what opens a section."""
    rng = score.stream("transitions")
    transitions = []
    for bar, (section, i, count) in enumerate(score.bars):
        if i > 0 or bar == 0:
            continue
        if section in ("drop", "break", "outro"):
            transitions.append(Transition("crash", bar, 1))
        if section in ("break", "outro") and rng.uniform() < 0.7:
            transitions.append(Transition("downlifter", bar, min(2, count)))
        if section == "drop":
            previous, _, room = score.bars[bar - 1]
            kinds = ["riser"]
            if previous == "break" or rng.uniform() < 0.75:
                kinds.append("roll")
            for kind in kinds:
                span = min((1, 2, 4)[rng.randint(3)], room)
                transitions.append(Transition(kind, bar - span, span))
        elif section == "build" and rng.uniform() < 0.5:
            transitions.append(Transition("riser", bar - 1, 1))
    return transitions


def place_kicks(score: Score) -> list[int]:
    """Returns the first samples of the kicks: one on each beat, more in some fills."""
    rng = score.stream("kicks")
    times = []
    for bar, (section, i, count) in enumerate(score.bars):
        if not score.plays("kick", bar):
            continue
        # The last beat before a drop has no kick.
        beats = 3 if section == "build" and i == count - 1 and count > 1 else 4
        sixteenths = [4 * beat for beat in range(beats)]
        if section == "drop" and i % 8 == 7 and rng.uniform() < 0.5:
            sixteenths.append((11, 14)[rng.randint(2)])
        times += sorted(score.at(bar, sixteenth) for sixteenth in sixteenths)
    return times
