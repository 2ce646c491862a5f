"""What a hostile or careless user may send: refused by one line, with nothing written or lost."""

import errno
import json
import math
import os

import pytest

from jukejax.common import files
from jukejax.pages.page import tag
from jukejax.studio import composing, views
from jukejax.studio.composing import Composition, Settings
from jukejax.studio.names import check_id, clean_name, make_slug, resolve_below
from jukejax.studio.state import Take, list_tree
from tests.support.studio import refuse, write_take

HTML = "<img src=x onerror=alert(1)>"


@pytest.fixture
def take(studio, project, model):
    [take] = studio.compose(project, model, Composition(bpm=120, bars=4), Settings())
    write_take(studio, "first-project", take)
    return take


# -- Names, identifiers and paths ------------------------------------------------------------------


@pytest.mark.parametrize(
    "slug",
    [
        *("..", "../..", "/etc", "a/../..", "a\\..\\b", "a\0b", "", " ", "CON", "nul", ".uploads"),
        *("first-project/..", "first-project/takes", "x" * 5000, HTML, None, 7, ["first-project"]),
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_no_project_lies_elsewhere(studio, slug):
    refuse(studio.open_project, slug)


def test_a_link_is_no_project(studio, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "project.json").write_text("{}")
    (studio.root / "linked").symlink_to(tmp_path / "outside")
    refuse(studio.open_project, "linked")


@pytest.mark.parametrize(
    "take", ["../t0001", "t0001/../../x", "t1", "T0001", "t0001\n", "u0001", "", None, 1, {}, HTML]
)
@pytest.mark.usefixtures("unchanged")
def test_no_take_lies_elsewhere(project, take):
    refuse(check_id, take, "t")
    refuse(project.rename_take, take, "name")
    refuse(project.delete_take, take)


@pytest.mark.parametrize(
    "path",
    ["../project.json", "../../jobs.json", "/etc/passwd", "a\0b", "x" * 3000, "link", ".", ""],
)
def test_no_report_lies_elsewhere(project, path):
    root = project.folder / "judged" / "t0001" / "evaluation"
    root.mkdir(parents=True)
    (root / "link").symlink_to("/etc/passwd")
    refuse(resolve_below, root, path)


@pytest.mark.parametrize(
    "name", ["meta.json", "../../project.json", "..", "level_2.wav/..", ".lock"]
)
def test_only_sounds_and_codes_of_a_take_are_sent(studio, take, name):
    refuse(views.find_media, studio, "first-project", take, name)


def test_a_linked_sound_is_not_sent(studio, project, take):
    item = project.take_folder(take) / "item_000"
    (item / "stream.wav").symlink_to("/etc/passwd")
    refuse(views.find_media, studio, "first-project", take, "stream.wav")


@pytest.mark.parametrize(
    "name", ["", " \t\n", "x" * 81, "x" * 100_000, "\u202e\u200b", None, 3, []]
)
@pytest.mark.usefixtures("unchanged")
def test_names_that_are_none(studio, project, name):
    refuse(studio.create_project, name)
    refuse(clean_name, name)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b\\c", HTML, "CON", "..", "?*|:<>", "日本語", "\ud800x"]
)
def test_any_name_makes_a_folder_of_ours(studio, name):
    slug = studio.create_project(name)
    assert (studio.root / slug / "project.json").parent.parent == studio.root
    assert slug == make_slug(slug)
    assert studio.open_project(slug).read().name == clean_name(name)


def test_names_become_text(studio, project, take):
    project.rename_take(take, HTML)
    assert views.describe_take(studio, "first-project", take)["name"] == HTML  # as data
    assert "<img" not in tag("p", project.read().takes[take].name)
    path = views.find_media(studio, "first-project", take, "level_2.wav")
    download = views.make_download_name(studio, "first-project", take, path)
    assert download == f"{take}-img-src-x-onerror-alert-1-level_2.wav"


# -- Numbers and labels ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        *(
            {"bpm": value, "bars": 4}
            for value in (math.nan, math.inf, -1, 0.1, 1e9, "120", True, [])
        ),
        *({"bpm": 120, "bars": value} for value in (0, -4, 1e12, math.nan, "4; rm -rf /")),
        *({"seconds": value} for value in (0, -1, 1e9, math.nan, None, "12")),
        *({"seconds": 4, "artist": value} for value in (HTML, "--output=/etc", "~root", 7)),
        *({"seconds": 4, "key": value} for value in (HTML, "H minor", "A" * 10_000)),
        {"bars": 4},
        {"seconds": 4, "is_loop": True},
        {"bpm": 120, "bars": 2.5, "is_loop": True},
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_no_job_is_made_of_values_that_are_out_of_range(studio, project, model, values):
    refuse(studio.compose, project, model, Composition(**values), Settings())
    assert studio.queue.list_jobs() == []


@pytest.mark.parametrize(
    "settings",
    [
        *({"seed": value} for value in (-1, 2**32, 0.5, None, "0", math.nan)),
        *({"guidance": value} for value in (-1, 1e9, math.nan, None)),
        *({"temperature": {2: value}} for value in (-1, 100, math.nan, "hot")),
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_settings_that_are_out_of_range(studio, project, model, settings):
    refuse(studio.compose, project, model, Composition(seconds=4), Settings(**settings))


@pytest.mark.parametrize("count", [0, -1, 17, 1e9, 1.5, None, "3", math.nan])
@pytest.mark.usefixtures("unchanged")
def test_numbers_of_takes(studio, project, model, count):
    refuse(studio.compose, project, model, Composition(seconds=4), Settings(), count=count)


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 1), (2, 1), (1, 6), (1.5, 2), (math.nan, 2), (1, 1e9), (None, 1), ("1", 1)],
)
def test_ranges_in_bars(studio, project, model, take, first, last):
    source = studio.read_files(project, take)
    refuse(composing.reroll_take, model, Settings(), source, first, last, 4)
    refuse(studio.trim_take, project, take, first, last)
    assert len(project.read().takes) == 1


@pytest.mark.parametrize(
    "meta", ["", "[]", '{"grid": 3, "gain": 4}', '{"seconds": "x", "grid": {"a": 1}}']
)
def test_a_damaged_take_is_shown_and_not_used(studio, project, model, take, meta):
    (project.take_folder(take) / "item_000" / "meta.json").write_text(meta)
    source = studio.read_files(project, take)
    assert source.bars == []
    refuse(composing.continue_take, model, Settings(), source, 4, 0)
    refuse(studio.judge_take, project, take)
    assert views.describe_take(studio, "first-project", take)["peaks"] == []


# -- Two pages, full disks -------------------------------------------------------------------------


def test_a_take_that_another_page_deleted(studio, project, model, take):
    studio.delete_take(project, take)
    refuse(project.rename_take, take, "x", match="trash")
    refuse(studio.open_source, project, take, match="trash")
    refuse(studio.delete_take, project, take)
    refuse(views.describe_take, studio, "first-project", take)
    assert project.undo_delete() == take
    assert studio.read_files(project, take).levels == (2,)


def test_the_job_of_a_deleted_take_does_not_resume(studio, project, model):
    [take] = studio.compose(project, model, Composition(seconds=4), Settings())
    [job] = studio.queue.list_jobs()
    studio.delete_take(project, take)
    assert studio.queue.find_job(job.identifier).state == "stopped"
    refuse(studio.resume_job, job.identifier, match="trash")
    assert studio.empty_trash(project) == 1
    refuse(studio.resume_job, job.identifier)
    for identifier in (None, "j9999", "../j0001", 1):
        refuse(studio.resume_job, identifier)
        refuse(studio.queue.stop, identifier)


def test_on_a_full_disk_nothing_is_lost(studio, project, model, take, monkeypatch):
    before = (project.folder / "project.json").read_bytes()
    jobs = (studio.root / "jobs.json").read_bytes()

    def refuse_writing(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse_writing)
        for action in (
            lambda: studio.compose(project, model, Composition(seconds=4), Settings()),
            lambda: project.rename_take(take, "x"),
            lambda: project.delete_take(take),
            lambda: studio.trim_take(project, take, 1, 2),
        ):
            with pytest.raises(OSError, match="No space") as full_disk:
                action()
            assert files.is_disk_full(full_disk.value)
    assert (project.folder / "project.json").read_bytes() == before
    assert (studio.root / "jobs.json").read_bytes() == jobs
    assert list(project.read().takes) == [take]


def test_a_take_whose_job_cannot_wait_is_not_kept(studio, project, model, monkeypatch):
    def refuse_writing(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(studio.queue, "_replace", refuse_writing)
    with pytest.raises(OSError, match="No space"):
        studio.compose(project, model, Composition(seconds=4), Settings())
    assert project.read().takes == {}


def test_too_many_jobs(studio, project, model):
    for _ in range(6):
        studio.compose(project, model, Composition(seconds=4), Settings(), count=16)
    refuse(studio.compose, project, model, Composition(seconds=4), Settings(), count=16)
    assert len(project.read().takes) == len(studio.queue.list_jobs()) == 100


def test_a_project_whose_file_was_edited_badly(studio, project):
    values = json.loads((project.folder / "project.json").read_text())
    values["takes"] = {"../../etc": {"name": "x", "arguments": []}}
    (project.folder / "project.json").write_text(json.dumps(values))
    refuse(project.read, match="damaged")
    assert ("first-project", "First project") in studio.list_projects()


def test_a_take_is_its_own_ancestor(studio, project):
    first = project.add_take(lambda identifier: Take(name="a", parent="t0001"))
    project.delete_take(first)
    project.add_take(lambda identifier: Take(name="b", parent=first))
    assert [take.name for _, _, take in list_tree(project.read())] == ["b"]
