"""Both orders of windows with a fake in place of the model, whose right answer is known by hand."""

import itertools

import jax
import numpy as np
import pytest

from jukejax.inference.batches import Limit
from jukejax.inference.schedules import Track, parallel, sequential

TRACK = Track(total=900, seq_len=200, window_hop=100)
ITEMS = 3
SHAPES = [
    Track(900, 200, 100),
    Track(910, 200, 100),  # the last window is moved back
    Track(900, 200, 150),
    Track(900, 200, 40),  # a place lies in five windows
    Track(900, 200, 200),  # no overlap
    Track(200, 200, 100),
    Track(150, 200, 100),
]


def truth(total=900, items=ITEMS):
    """What every window draws once it is warm."""
    return np.random.default_rng(0).integers(2000, size=(items, total)).astype(np.int32)


class Fake:
    """Draws the truth, save that the first `cold` codes of a window without a past are its own.

    Attributes:
      batches: what it was asked for, [(item, number) ...] each.
    """

    def __init__(self, tracks, cold=40, fits=1000):
        self.tracks, self.cold, self.fits, self.batches = tracks, cold, fits, []

    def __call__(self, jobs, codes):
        assert len({(job.window.fixed, job.window.stop) for job in jobs}) == 1
        if len(jobs) > self.fits:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
        self.batches.append([job.key for job in jobs])
        return np.stack([self.draw(job, codes) for job in jobs])

    def draw(self, job, codes):
        start, fixed, stop = job.window
        past = codes[job.item, start : start + fixed]
        np.testing.assert_array_equal(past, self.tracks[job.item, start : start + fixed])
        drawn = self.tracks[job.item, start + fixed : start + stop].copy()
        if start and not fixed:
            drawn[: self.cold] = 3000 + 100 * job.number + np.arange(self.cold) % 7
        return drawn


def run(schedule, fake, track=TRACK, *, given=None, parts=None, rows=1000, **more):
    given = np.zeros((ITEMS, 0), np.int32) if given is None else given
    return list(schedule(track, fake, given=given, parts=parts or {}, limit=Limit(rows), **more))


@pytest.mark.parametrize("schedule", [sequential, parallel])
@pytest.mark.parametrize("rows", [1, 2, 4, 7, 1000])
@pytest.mark.parametrize("track", SHAPES, ids=str)
def test_every_code_of_the_track_is_drawn(schedule, track, rows):
    tracks, cold = truth(track.total), 0
    if schedule is parallel:  # as many as are certainly thrown away
        cold = (track.seq_len - track.window_hop) // 2
    *_, last = run(schedule, Fake(tracks, cold), track, rows=rows)
    np.testing.assert_array_equal(last.codes, tracks)
    assert last.parts == {}
    assert last.done == last.total


def test_side_by_side_the_join_is_found_where_both_windows_agree():
    """Windows go wrong at their end too: what is left to agree on lies in between."""
    tracks = truth()

    class Tired(Fake):
        def draw(self, job, codes):
            drawn = super().draw(job, codes)
            if job.window.start + job.window.stop < TRACK.total:
                drawn[-30:] = 5000
            return drawn

    *_, last = run(parallel, Tired(tracks, cold=60))
    np.testing.assert_array_equal(last.codes, tracks)


@pytest.mark.parametrize("prompt", [1, 99, 100, 149, 150, 151, 420, 899])
@pytest.mark.parametrize("schedule", [sequential, parallel])
def test_prompts_are_kept_and_gone_on_from(schedule, prompt):
    tracks = truth()
    fake = Fake(tracks)
    *_, last = run(schedule, fake, given=tracks[:, :prompt])
    np.testing.assert_array_equal(last.codes, tracks)
    windows = {number for batch in fake.batches for _, number in batch}
    assert len(windows) <= 1 + -(-(TRACK.total - prompt) // TRACK.window_hop)


def test_nothing_is_drawn_of_a_track_that_is_there():
    for schedule in (sequential, parallel):
        assert run(schedule, None, given=truth()) == []


@pytest.mark.parametrize("schedule", [sequential, parallel])
def test_what_is_handed_back_is_final_and_grows(schedule):
    steps = run(schedule, Fake(truth()), rows=5)
    for step in steps:
        length = step.codes.shape[1]
        np.testing.assert_array_equal(step.codes, steps[-1].codes[:, :length])
    assert [step.done for step in steps] == sorted({step.done for step in steps})
    lengths = [step.codes.shape[1] for step in steps]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 4


@pytest.mark.parametrize("prompt", [0, 120, 250, 330])
@pytest.mark.parametrize("schedule", [sequential, parallel])
@pytest.mark.parametrize("rows", [2, 5, 8])
def test_a_run_that_goes_on_ends_the_same_by_the_same_batches(schedule, prompt, rows):
    """Killed after any batch, with what was handed back then."""
    tracks, undisturbed = truth(), Fake(truth())
    steps = run(schedule, undisturbed, given=tracks[:, :prompt], rows=rows)
    for number, step in enumerate(steps[:-1], start=1):
        fake = Fake(tracks)
        *_, last = run(schedule, fake, given=step.codes, parts=step.parts, rows=rows)
        np.testing.assert_array_equal(last.codes, steps[-1].codes)
        assert fake.batches == undisturbed.batches[number:]
        assert last.done == last.total


@pytest.mark.parametrize("prompt", [0, 120, 250])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_items_may_be_written_one_after_the_other(prompt, rows):
    """A kill between: item 0 has a step's state, the others that of the step before it.

    Of items that are ahead in codes only the codes count that all have, and none of their parts.
    """
    tracks = truth()
    steps = run(parallel, Fake(tracks), given=tracks[:, :prompt], rows=rows)
    for early, late in itertools.pairwise(steps[:-1]):
        behind = early.codes.shape[1]
        kept = {key: codes for key, codes in early.parts.items() if key[0] > 0}
        if late.codes.shape[1] == behind:
            kept |= {key: codes for key, codes in late.parts.items() if key[0] == 0}
        *_, last = run(parallel, Fake(tracks), given=early.codes, parts=kept, rows=rows)
        np.testing.assert_array_equal(last.codes, steps[-1].codes)


def test_all_drawn_and_nothing_joined_is_joined_without_drawing():
    """States of items that were written one after the other may hold every window between them."""
    whole = {}

    class Watched(Fake):
        def __call__(self, jobs, codes):
            found = super().__call__(jobs, codes)
            whole.update({job.key: row for job, row in zip(jobs, found, strict=True)})
            return found

    *_, last = run(parallel, Watched(truth()))
    (step,) = run(parallel, None, parts=whole)
    np.testing.assert_array_equal(step.codes, last.codes)
    assert step.done == step.total > 0


def test_parts_of_another_level_are_refused():
    given = truth()[:, :120]
    for parts in (
        {(0, 0): np.zeros(7, np.int32)},
        {(0, 40): np.zeros(200, np.int32)},
        {(0, 5): np.zeros(200, np.int32)},
    ):
        for schedule in (sequential, parallel):
            with pytest.raises(ValueError, match="belong to"):
                run(schedule, Fake(truth()), given=given, parts=parts)


@pytest.mark.parametrize("schedule", [sequential, parallel])
def test_out_of_memory_halves_the_batch_and_goes_on(schedule, capsys):
    """The rows in flight are lost, what was drawn before is not; it is said once."""
    undisturbed, tight = Fake(truth()), Fake(truth(), fits=1)
    steps = run(schedule, undisturbed)
    *_, last = run(schedule, tight)
    np.testing.assert_array_equal(last.codes, steps[-1].codes)
    assert {len(batch) for batch in tight.batches} == {1}
    drawn = [key for batch in tight.batches for key in batch]
    assert len(drawn) == len(set(drawn))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("no memory for ")


def test_a_window_that_does_not_fit_alone_is_an_error_in_one_line():
    with pytest.raises(ValueError, match=r"a single window does not fit.*take --weights=int8"):
        run(parallel, Fake(truth(), fits=0))


def test_other_errors_of_the_device_are_not_taken_for_a_lack_of_memory():
    def broken(jobs, codes):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        run(parallel, broken)


def test_batches_are_about_as_full_as_each_other_and_of_one_shape():
    fake = Fake(truth())
    run(parallel, fake, rows=10)  # 8 windows of 3 items
    assert [len(batch) for batch in fake.batches] == [8, 8, 8]
    fake = Fake(truth())
    run(parallel, fake, rows=7)
    assert [len(batch) for batch in fake.batches] == [6, 6, 6, 6]
    fake = Fake(truth())
    run(sequential, fake, rows=2)
    assert {len(batch) for batch in fake.batches} == {2}


def test_joins_are_heard_of():
    """In order: one after the other windows join where they start, side by side in the overlap."""
    for schedule in (sequential, parallel):
        heard = []
        run(schedule, Fake(truth()), on_join=lambda *told, heard=heard: heard.append(told))
        for item in range(ITEMS):
            joins = [code for who, code, _ in heard if who == item]
            if schedule is sequential:
                assert joins == list(range(200, 900, 100))
            else:
                assert len(joins) == 7
                for number, join in enumerate(joins, start=1):
                    assert 100 * number + 50 <= join <= 100 * number + 100
        assert {share for _, _, share in heard} == {1.0}


def test_windows_that_never_agree_are_joined_all_the_same():
    """And those that hear of the join are told."""

    class Stubborn(Fake):
        def draw(self, job, codes):
            return super().draw(job, codes) * 10 + job.number

    heard = []
    *_, last = run(parallel, Stubborn(truth(), cold=0), on_join=lambda *told: heard.append(told))
    assert last.codes.shape == (ITEMS, TRACK.total)
    assert {share for _, _, share in heard} == {0.0}
    joins = [0, *(code for item, code, _ in heard if item == 0)]
    for number, (begin, end) in enumerate(itertools.pairwise([*joins, TRACK.total])):
        np.testing.assert_array_equal(last.codes[:, begin:end] % 10, number)
