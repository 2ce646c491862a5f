"""What is saved comes back: on other devices, after damage, and with the best kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.runtime import sharding
from jukejax.runtime.sharding import MeshConfig
from jukejax.training import program
from jukejax.training.checkpoint import Checkpoints
from jukejax.weights.checkpoints import find_best_step, read_state
from tests.support.small_tasks import config_of

ABOUT = {"corpus_hash": "abc"}


class Loader:
    """Stands for a feeder: a position that can be read and set."""

    def __init__(self, position=0):
        self.position = position

    def get_state(self):
        return {"next_index": np.int64(self.position)}

    def set_state(self, state):
        self.position = state["next_index"]


def program_on(mesh, count):
    task = program.make_task(config_of("prior"), with_data=False)
    recipe = program.make_recipe(config_of("prior"))
    return program.build_program(task, recipe, sharding.make_mesh(mesh, jax.devices()[:count]))


@pytest.fixture(scope="module")
def eight():
    return program_on(MeshConfig(2, 2, 2), 8)


@pytest.fixture(scope="module")
def state(eight):
    with jax.set_mesh(eight.mesh):
        return eight.init(jax.random.key(3))


def save(folder, state, steps, *, losses=None, keep=2):
    checkpoints = Checkpoints(folder, keep=keep)
    for number, step in enumerate(steps):
        loss = losses[number] if losses else None
        moved = state.replace(step=jax.device_put(jnp.int32(step), state.step.sharding))
        checkpoints.save(step, moved, Loader(10 * step), ABOUT, loss)
    checkpoints.close()


def restore(folder, built):
    loader = Loader()
    checkpoints = Checkpoints(folder)
    found = checkpoints.restore(built.target, loader)
    checkpoints.close()
    return found, loader.position


@pytest.mark.parametrize(("mesh", "count"), [(MeshConfig(1, 2), 2), (MeshConfig(), 1)])
def test_what_eight_devices_saved_comes_back_bit_for_bit_on_fewer(
    tmp_path, eight, state, mesh, count
):
    save(tmp_path, state, [7])
    (found, about), position = restore(tmp_path, program_on(mesh, count))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
        if ours.ndim:
            assert len(ours.sharding.device_set) == count
        if theirs is not state.step:
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert int(found.step) == 7
    assert position == 70
    assert about["corpus_hash"] == "abc"
    assert about["versions"]["jax"] == jax.__version__


def test_the_newest_and_the_best_are_kept(tmp_path, state):
    save(tmp_path, state, [1, 2, 3, 4, 5], losses=[3.0, 1.0, 2.0, 4.0, 5.0])
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert kept == [2, 4, 5]
    save(tmp_path, state, [6, 7], losses=[2.0, 3.0])  # by another process, later
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert kept == [2, 6, 7]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, eight, state, capsys):
    save(tmp_path, state, [1, 2])
    newest = tmp_path / "checkpoints" / "2" / "state"
    for path in newest.rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[:40])
    (found, _), position = restore(tmp_path, eight)
    assert (int(found.step), position) == (1, 10)
    said = capsys.readouterr().err
    assert "warning: checkpoint 2" in said
    assert "set aside as damaged_2" in said
    assert (tmp_path / "checkpoints" / "damaged_2").is_dir()
    save(tmp_path, state, [2])  # the run comes to that step again
    assert restore(tmp_path, eight)[1] == 20


def test_if_none_can_be_read_nothing_is_changed(tmp_path, eight, state):
    save(tmp_path, state, [1])
    for path in (tmp_path / "checkpoints" / "1" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the checkpoints of .* can be read"):
        restore(tmp_path, eight)
    assert (tmp_path / "checkpoints" / "1").is_dir()


def test_an_empty_folder_holds_nothing(tmp_path, eight):
    assert restore(tmp_path, eight)[0] is None


def test_the_state_is_read_without_the_program(tmp_path, state):
    save(tmp_path, state, [4])
    found = read_state(tmp_path)
    table = found["params"]["autoregressive"]["code_embedding"]
    expected = state.params["autoregressive"]["code_embedding"]
    np.testing.assert_array_equal(table, np.asarray(expected))
    with pytest.raises(ValueError, match="holds no checkpoints"):
        read_state(tmp_path / "elsewhere")


def test_the_state_is_read_of_the_best_and_past_a_damaged_one(tmp_path, state, capsys):
    save(tmp_path, state, [1, 2, 3], losses=[1.0, 3.0, 2.0])
    assert int(read_state(tmp_path)["step"]) == 3
    assert find_best_step(tmp_path).step == 1
    for path in (tmp_path / "checkpoints/3/state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert int(read_state(tmp_path)["step"]) == 2
    assert "warning: checkpoint 3 of" in capsys.readouterr().err
    save(tmp_path / "blind", state, [4])
    with pytest.raises(ValueError, match="has a held-out loss"):
        find_best_step(tmp_path / "blind")
