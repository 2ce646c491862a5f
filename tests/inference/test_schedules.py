"""Both orders of windows, with a sampler sampler for which the right answer is known."""

import itertools
import threading

import jax
import numpy as np
import pytest

from jukejax.inference.batches import BatchLimit
from jukejax.inference.schedules import WindowGrid, sample_parallel, sample_sequential

GRID = WindowGrid(total=900, seq_len=200, window_hop=100)
ITEMS = 3
SHAPES = [
    WindowGrid(900, 200, 100),
    WindowGrid(910, 200, 100),  # the last window is moved back
    WindowGrid(900, 200, 150),
    WindowGrid(900, 200, 40),  # a position lies in five windows
    WindowGrid(900, 200, 200),  # no overlap
    WindowGrid(200, 200, 100),
    WindowGrid(150, 200, 100),
]


def make_tracks(total=900, items=ITEMS):
    """Returns the codes that every window samples after its warm-up."""
    return np.random.default_rng(0).integers(2000, size=(items, total)).astype(np.int32)


class FakeSampler:
    """Samples the codes of `tracks`, except the first `cold` codes of a window without context.

    Attributes:
      batches: of the calls, [(item, index of the window) ...] each.
    """

    def __init__(self, tracks, cold=40, fits=1000):
        self.tracks, self.cold, self.fits, self.batches = tracks, cold, fits, []

    def __call__(self, jobs, codes):
        assert len({(job.window.fixed, job.window.stop) for job in jobs}) == 1
        if len(jobs) > self.fits:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
        self.batches.append([job.key for job in jobs])
        return np.stack([self.sample(job, codes) for job in jobs])

    def sample(self, job, codes):
        start, fixed, stop = job.window
        context = codes[job.item, start : start + fixed]
        np.testing.assert_array_equal(context, self.tracks[job.item, start : start + fixed])
        sampled = self.tracks[job.item, start + fixed : start + stop].copy()
        if start and not fixed:
            sampled[: self.cold] = 3000 + 100 * job.window_index + np.arange(self.cold) % 7
        return sampled


def run(schedule, sampler, grid=GRID, *, codes=None, pending=None, rows=1000, at_once=1, **more):
    """Returns all states of a level."""
    codes = np.zeros((ITEMS, 0), np.int32) if codes is None else codes
    limit = BatchLimit(rows, at_once)
    return list(schedule(grid, sampler, codes=codes, pending=pending or {}, limit=limit, **more))


@pytest.mark.parametrize("schedule", [sample_sequential, sample_parallel])
@pytest.mark.parametrize("rows", [1, 2, 4, 7, 1000])
@pytest.mark.parametrize("grid", SHAPES, ids=str)
def test_every_code_of_the_track_is_sampled(schedule, grid, rows):
    tracks, cold = make_tracks(grid.total), 0
    if schedule is sample_parallel:  # as many as are certainly discarded
        cold = (grid.seq_len - grid.window_hop) // 2
    *_, last = run(schedule, FakeSampler(tracks, cold), grid, rows=rows)
    np.testing.assert_array_equal(last.codes, tracks)
    assert last.pending == {}
    assert last.done == last.total


def test_parallel_windows_are_joined_where_both_agree():
    """Windows are wrong at their end too: they agree in between only."""
    tracks = make_tracks()

    class WrongAtTheEnd(FakeSampler):
        def sample(self, job, codes):
            sampled = super().sample(job, codes)
            if job.window.start + job.window.stop < GRID.total:
                sampled[-30:] = 5000
            return sampled

    *_, last = run(sample_parallel, WrongAtTheEnd(tracks, cold=60))
    np.testing.assert_array_equal(last.codes, tracks)


@pytest.mark.parametrize("prompt", [1, 99, 100, 149, 150, 151, 420, 899])
@pytest.mark.parametrize("schedule", [sample_sequential, sample_parallel])
def test_prompts_are_kept_and_continued(schedule, prompt):
    tracks = make_tracks()
    sampler = FakeSampler(tracks)
    *_, last = run(schedule, sampler, codes=tracks[:, :prompt])
    np.testing.assert_array_equal(last.codes, tracks)
    windows = {index for batch in sampler.batches for _, index in batch}
    assert len(windows) <= 1 + -(-(GRID.total - prompt) // GRID.window_hop)


def test_finished_track_is_not_sampled():
    for schedule in (sample_sequential, sample_parallel):
        assert run(schedule, None, codes=make_tracks()) == []


@pytest.mark.parametrize("schedule", [sample_sequential, sample_parallel])
def test_returned_codes_are_final_and_grow(schedule):
    steps = run(schedule, FakeSampler(make_tracks()), rows=5)
    for step in steps:
        length = step.codes.shape[1]
        np.testing.assert_array_equal(step.codes, steps[-1].codes[:, :length])
    assert [step.done for step in steps] == sorted({step.done for step in steps})
    lengths = [step.codes.shape[1] for step in steps]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 4


@pytest.mark.parametrize("prompt", [0, 120, 250, 330])
@pytest.mark.parametrize("schedule", [sample_sequential, sample_parallel])
@pytest.mark.parametrize("rows", [2, 5, 8])
def test_resumed_run_computes_the_same_in_the_same_batches(schedule, prompt, rows):
    """Killed after any batch, and resumed from the state returned then."""
    tracks, uninterrupted = make_tracks(), FakeSampler(make_tracks())
    steps = run(schedule, uninterrupted, codes=tracks[:, :prompt], rows=rows)
    for index, step in enumerate(steps[:-1], start=1):
        sampler = FakeSampler(tracks)
        *_, last = run(schedule, sampler, codes=step.codes, pending=step.pending, rows=rows)
        np.testing.assert_array_equal(last.codes, steps[-1].codes)
        assert sampler.batches == uninterrupted.batches[index:]
        assert last.done == last.total


@pytest.mark.parametrize("prompt", [0, 120, 250])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_states_of_items_may_be_of_neighboring_steps(prompt, rows):
    """A kill between writes: item 0 has the state of a step, the others that of the step before.

    Of items that are ahead only the codes that all have are used, and none of their windows.
    """
    tracks = make_tracks()
    steps = run(sample_parallel, FakeSampler(tracks), codes=tracks[:, :prompt], rows=rows)
    for early, late in itertools.pairwise(steps[:-1]):
        behind = early.codes.shape[1]
        pending = {key: codes for key, codes in early.pending.items() if key[0] > 0}
        if late.codes.shape[1] == behind:
            pending |= {key: codes for key, codes in late.pending.items() if key[0] == 0}
        *_, last = run(
            sample_parallel, FakeSampler(tracks), codes=early.codes, pending=pending, rows=rows
        )
        np.testing.assert_array_equal(last.codes, steps[-1].codes)


def test_complete_windows_are_joined_without_sampling():
    """States of items of neighboring steps may hold every window between them."""
    sampled = {}

    class RecordingSampler(FakeSampler):
        def __call__(self, jobs, codes):
            rows = super().__call__(jobs, codes)
            sampled.update({job.key: row for job, row in zip(jobs, rows, strict=True)})
            return rows

    *_, last = run(sample_parallel, RecordingSampler(make_tracks()))
    (step,) = run(sample_parallel, None, pending=sampled)
    np.testing.assert_array_equal(step.codes, last.codes)
    assert step.done == step.total > 0


def test_windows_of_another_level_are_refused():
    codes = make_tracks()[:, :120]
    for windows in (
        {(0, 0): np.zeros(7, np.int32)},
        {(0, 40): np.zeros(200, np.int32)},
        {(0, 5): np.zeros(200, np.int32)},
    ):
        for schedule in (sample_sequential, sample_parallel):
            with pytest.raises(ValueError, match="belong to"):
                run(schedule, FakeSampler(make_tracks()), codes=codes, pending=windows)


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("schedule", [sample_sequential, sample_parallel])
def test_out_of_memory_halves_the_batch_and_continues(schedule, at_once, capsys):
    """The rows in progress are lost, earlier ones are not; the message is printed once."""
    uninterrupted, limited = FakeSampler(make_tracks()), FakeSampler(make_tracks(), fits=1)
    steps = run(schedule, uninterrupted)
    *_, last = run(schedule, limited, at_once=at_once)
    np.testing.assert_array_equal(last.codes, steps[-1].codes)
    assert {len(batch) for batch in limited.batches} == {1}
    sampled = [key for batch in limited.batches for key in batch]
    assert len(sampled) == len(set(sampled))
    messages = capsys.readouterr().err.splitlines()
    assert len(messages) == 1
    assert messages[0].startswith("no memory for ")


def test_window_that_does_not_fit_alone_is_an_error():
    with pytest.raises(ValueError, match=r"a single window does not fit.*take --weights=int8"):
        run(sample_parallel, FakeSampler(make_tracks(), fits=0))


def test_other_errors_of_the_device_are_raised():
    def broken(jobs, codes):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        run(sample_parallel, broken)


def test_batches_have_one_shape_and_are_about_equally_full():
    sampler = FakeSampler(make_tracks())
    run(sample_parallel, sampler, rows=10)  # 8 windows of 3 items
    assert [len(batch) for batch in sampler.batches] == [8, 8, 8]
    sampler = FakeSampler(make_tracks())
    run(sample_parallel, sampler, rows=7)
    assert [len(batch) for batch in sampler.batches] == [6, 6, 6, 6]
    sampler = FakeSampler(make_tracks())
    run(sample_sequential, sampler, rows=2)
    assert {len(batch) for batch in sampler.batches} == {2}


@pytest.mark.parametrize(
    ("schedule", "num_batches"), [(sample_sequential, 16), (sample_parallel, 4)]
)
def test_two_batches_are_sampled_at_a_time(schedule, num_batches):
    """Each waits for another one: of 8 windows of 3 items, which fit into 3 batches of 10."""
    tracks, both = make_tracks(), threading.Barrier(2, timeout=10)

    class WaitingSampler(FakeSampler):
        def __call__(self, jobs, codes):
            both.wait()
            return super().__call__(jobs, codes)

    sampler = WaitingSampler(tracks)
    *_, last = run(schedule, sampler, rows=10, at_once=2)
    np.testing.assert_array_equal(last.codes, tracks)
    assert len(sampler.batches) == num_batches


def test_joins_are_reported():
    """Sequential windows join at their start, parallel ones within the overlap."""
    for schedule in (sample_sequential, sample_parallel):
        joins_seen = []
        run(
            schedule,
            FakeSampler(make_tracks()),
            on_join=lambda *join, seen=joins_seen: seen.append(join),
        )
        for item in range(ITEMS):
            joins = [code for join_item, code, _ in joins_seen if join_item == item]
            if schedule is sample_sequential:
                assert joins == list(range(200, 900, 100))
            else:
                assert len(joins) == 7
                for index, join in enumerate(joins, start=1):
                    assert 100 * index + 50 <= join <= 100 * index + 100
        assert {share for _, _, share in joins_seen} == {1.0}


def test_windows_that_never_agree_are_joined_and_reported():

    class NeverAgreeing(FakeSampler):
        def sample(self, job, codes):
            return super().sample(job, codes) * 10 + job.window_index

    joins_seen = []
    *_, last = run(
        sample_parallel,
        NeverAgreeing(make_tracks(), cold=0),
        on_join=lambda *join: joins_seen.append(join),
    )
    assert last.codes.shape == (ITEMS, GRID.total)
    assert {share for _, _, share in joins_seen} == {0.0}
    joins = [0, *(code for item, code, _ in joins_seen if item == 0)]
    for index, (begin, end) in enumerate(itertools.pairwise([*joins, GRID.total])):
        np.testing.assert_array_equal(last.codes[:, begin:end] % 10, index)
