"""Projects: the tree of takes, names, stars, the trash, and changes from two pages."""

import threading

import pytest

from jukejax.common import files
from jukejax.studio.project import Project
from jukejax.studio.state import Take, list_tree


@pytest.fixture
def fresh(tmp_path):
    return Project.create(tmp_path / "p", "Night drive")


def add(project, name, parent=None):
    return project.add_take(lambda identifier: Take(name=name, parent=parent))


def rows(project):
    return [(depth, take.name) for depth, _, take in list_tree(project.read())]


def test_takes_form_a_tree(fresh):
    first = add(fresh, "first")
    child = add(fresh, "child", first)
    add(fresh, "second")
    add(fresh, "grandchild", child)
    assert rows(fresh) == [(0, "first"), (1, "child"), (2, "grandchild"), (0, "second")]


def test_a_deleted_take_comes_back_and_its_children_stay(fresh):
    first = add(fresh, "first")
    child = add(fresh, "child", first)
    add(fresh, "grandchild", child)
    fresh.delete_take(child)
    assert rows(fresh) == [(0, "first"), (1, "grandchild")]
    fresh.delete_take(first)
    assert rows(fresh) == [(0, "grandchild")]
    assert fresh.undo_delete() == first
    assert fresh.undo_delete() == child
    assert rows(fresh) == [(0, "first"), (1, "child"), (2, "grandchild")]
    with pytest.raises(ValueError, match="trash is empty"):
        fresh.undo_delete()


def test_the_trash_is_removed_with_its_folders_only_when_it_is_emptied(fresh):
    first = add(fresh, "first")
    child = add(fresh, "child", first)
    grandchild = add(fresh, "grandchild", child)
    (fresh.take_folder(child) / "item_000").mkdir(parents=True)
    fresh.delete_take(child)
    assert fresh.take_folder(child).is_dir()
    assert fresh.empty_trash() == 1
    assert not fresh.take_folder(child).exists()
    assert fresh.read().takes[grandchild].parent == first


def test_names_and_stars_are_kept(fresh):
    take = add(fresh, "first")
    fresh.rename_take(take, "  Über\nall  ")
    fresh.update_take(take, is_starred=True)
    again = Project(fresh.folder).read().takes[take]
    assert (again.name, again.is_starred) == ("Über all", True)


def test_changes_of_two_pages_are_both_kept(fresh):
    take = add(fresh, "first")
    threads = [
        threading.Thread(target=add, args=(fresh, f"take {number}")) for number in range(20)
    ] + [threading.Thread(target=fresh.update_take, args=(take,), kwargs={"is_starred": True})]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = fresh.read()
    assert len(state.takes) == 21
    assert state.takes[take].is_starred


def test_a_change_that_fails_changes_nothing(fresh):
    take = add(fresh, "first")
    before = (fresh.folder / "project.json").read_bytes()
    with pytest.raises(ValueError, match="empty"):
        fresh.rename_take(take, " \n ")
    with pytest.raises(ValueError, match="does not exist"):
        fresh.delete_take("t0099")
    assert (fresh.folder / "project.json").read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 9}', '{"format": 1, "takes": 3}']
)
def test_a_damaged_project_is_named_and_not_overwritten(fresh, text):
    path = fresh.folder / "project.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"project\.json"):
        add(fresh, "first")
    assert path.read_text() == text


def test_identifiers_are_not_used_again(fresh):
    first = add(fresh, "first")
    fresh.delete_take(first)
    fresh.empty_trash()
    assert add(fresh, "second") != first
    assert files.read_json(fresh.folder / "project.json")["number"] == 2

    def fail(identifier):
        raise OSError(identifier)

    with pytest.raises(OSError, match="t0003"):
        fresh.add_take(fail)
    assert add(fresh, "third") == "t0004"
