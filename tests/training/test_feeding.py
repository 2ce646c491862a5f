"""Batches arrive in order, early, and a saved position is that of what was used."""

import threading
import time

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jukejax.runtime import sharding
from jukejax.training.feeding import Feeder


class Count(grain.DatasetIterator):
    """0, 1, 2, ... up to `end`; after `bad` an error; remembers how far it was asked."""

    def __init__(self, end=100, bad=None, seconds=0.0):
        super().__init__()
        self.at, self.end, self.bad, self.seconds = 0, end, bad, seconds

    def __next__(self):
        time.sleep(self.seconds)
        if self.at == self.bad:
            raise ValueError(f"record {self.at} is damaged")
        if self.at == self.end:
            raise StopIteration
        self.at += 1
        return {"x": np.full((8, 2), self.at - 1, np.float32)}

    def get_state(self):
        return {"at": self.at}

    def set_state(self, state):
        self.at = state["at"]


def same(batch):
    return batch


def value(batch):
    return int(batch["x"][0, 0])


def wait_until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_every_batch_comes_once_and_in_order():
    feeder = Feeder(Count(end=20), same)
    assert [value(batch) for batch in feeder] == list(range(20))
    with pytest.raises(StopIteration):
        next(feeder)
    feeder.close()


def test_it_reads_ahead_so_far_and_no_further():
    source = Count()
    feeder = Feeder(source, same, depth=3)
    assert source.at == 0
    next(feeder)
    wait_until(lambda: source.at == 4)
    time.sleep(0.05)
    assert source.at == 4  # the one in use and three more
    feeder.close()


def test_the_state_is_that_of_the_batches_handed_out():
    source = Count()
    feeder = Feeder(source, same, depth=2)
    states = [feeder.get_state()]
    for _ in range(5):
        next(feeder)
        states.append(feeder.get_state())
    assert states == [{"at": n} for n in range(6)]
    wait_until(lambda: source.at == 7)
    feeder.set_state({"at": 3})
    assert feeder.get_state() == {"at": 3}
    assert [value(next(feeder)) for _ in range(4)] == [3, 4, 5, 6]
    feeder.close()


def test_an_error_comes_where_it_happened_and_stays():
    feeder = Feeder(Count(bad=3), same)
    assert [value(next(feeder)) for _ in range(3)] == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(ValueError, match="record 3 is damaged"):
            next(feeder)
    assert feeder.get_state() == {"at": 3}
    feeder.close()


def test_it_can_go_back_from_the_end():
    feeder = Feeder(Count(end=3), same)
    assert len(list(feeder)) == 3
    feeder.set_state({"at": 1})
    assert [value(batch) for batch in feeder] == [1, 2]
    feeder.close()


def test_waiting_is_counted_only_when_reading_is_slower_than_the_steps():
    feeder = Feeder(Count(end=6, seconds=0.05), same)
    assert len(list(feeder)) == 6
    assert 0.2 < feeder.wait_seconds < 5
    feeder.close()
    feeder = Feeder(Count(end=6), same)
    next(feeder)
    before = feeder.wait_seconds
    for _ in range(5):
        time.sleep(0.1)
        next(feeder)
    assert feeder.wait_seconds - before < 0.1
    feeder.close()


def test_batches_lie_on_the_mesh_before_they_are_asked_for():
    mesh = sharding.make_mesh()
    feeder = Feeder(Count(), lambda batch: sharding.put_batch(mesh, batch))
    batch = next(feeder)
    assert batch["x"].sharding == jax.NamedSharding(mesh, sharding.BATCH)
    assert len(batch["x"].sharding.device_set) == jax.device_count()
    np.testing.assert_array_equal(batch["x"], 0.0)
    feeder.close()


def test_a_checkpoint_goes_on_behind_what_was_used(tmp_path):
    def start():
        stream = (
            grain.MapDataset.range(50)
            .seed(3)
            .shuffle()
            .repeat()
            .random_map(lambda i, rng: np.array([[i, rng.integers(1000)]]))
        )
        return Feeder(iter(stream.batch(2).to_iter_dataset()), same)

    feeder = start()
    for _ in range(7):
        next(feeder)
    with ocp.CheckpointManager(tmp_path.absolute()) as manager:
        data = grain.checkpoint.CheckpointSave(feeder)
        manager.save(1, args=ocp.args.Composite(data=data))
        manager.wait_until_finished()
        rest = [next(feeder) for _ in range(30)]
        resumed = start()
        data = grain.checkpoint.CheckpointRestore(resumed)
        manager.restore(1, args=ocp.args.Composite(data=data))
    for batch in rest:
        np.testing.assert_array_equal(next(resumed), batch)
    feeder.close()
    resumed.close()


def test_closing_ends_the_thread_and_is_final():
    feeder = Feeder(Count(), same)
    next(feeder)
    feeder.close()
    feeder.close()
    assert "feeder" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ValueError, match="closed"):
        next(feeder)


def test_a_feeder_without_room_is_refused():
    with pytest.raises(ValueError, match="depth 0 holds no batch; take 1 or more"):
        Feeder(Count(), same, depth=0)
