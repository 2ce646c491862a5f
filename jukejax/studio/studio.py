"""The studio: a folder of projects, the models that they play, and the queue.

Every action of the page is a method here, which checks what it gets; the page and its addresses add
nothing but form.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jukejax.common import files
from jukejax.studio import composing, judging, new_takes, recordings, trimming
from jukejax.studio.composing import Composition, Settings
from jukejax.studio.corpora import list_corpora
from jukejax.studio.job import DONE, Job
from jukejax.studio.models import ModelInfo, list_models
from jukejax.studio.names import check_number, check_slug, clean_name, make_slug
from jukejax.studio.project import FILE, Project
from jukejax.studio.queue import JobQueue
from jukejax.studio.state import Take
from jukejax.studio.take_files import TakeFiles, read_take_files
from jukejax.weights.shipped import HOUSE

MAX_PROJECTS = 1000
FIRST_PROJECT = "First project"


class Source(NamedTuple):
    """A take from which another one is made."""

    identifier: str
    take: Take
    model: ModelInfo
    files: TakeFiles


class Studio:
    """A folder of projects.

    Attributes:
      queue: runs the commands; not started yet.
    """

    def __init__(
        self,
        root: Path,
        *,
        models: dict[str, str] | None = None,
        corpora: Sequence[Path] = (),
    ):
        """Opens a folder, and makes a first project in an empty one.

        Args:
          models: {name: folder} of bundles beside the shipped one.
          corpora: folders of `prepare` or `encode` that audits may search.
        """
        root.mkdir(parents=True, exist_ok=True)
        self.root = root.resolve()
        self._models = dict(models or {})
        self._corpora = [path.resolve() for path in corpora]
        self._projects: dict[str, Project] = {}
        self.queue = JobQueue(self.root, self._finish_job)
        if not self.list_projects():
            self.create_project(FIRST_PROJECT)

    # -- Projects --------------------------------------------------------------------------------

    def list_projects(self) -> list[tuple[str, str]]:
        """Returns (folder name, name) of the projects; a damaged one has its folder's name."""
        projects = []
        for path in sorted(self.root.glob(f"*/{FILE}")):
            try:
                slug = check_slug(path.parent.name)
                projects.append((slug, str(files.read_json(path).get("name", slug))))
            except ValueError:
                projects.append((path.parent.name, path.parent.name))
        return projects

    def create_project(self, name: object) -> str:
        """Creates a project; returns the name of its folder."""
        title = clean_name(name, "the name of the project")
        if len(self.list_projects()) >= MAX_PROJECTS:
            raise ValueError(f"a folder holds at most {MAX_PROJECTS} projects")
        slug = base = make_slug(title)
        number = 1
        while (self.root / slug).exists():
            number += 1
            slug = f"{base[:36]}-{number}"
        self._projects[slug] = Project.create(self.root / slug, title)
        return slug

    def open_project(self, slug: object) -> Project:
        """Returns a project.

        Raises:
          ValueError: there is none.
        """
        name = check_slug(slug)
        if not (self.root / name / FILE).is_file() or (self.root / name).is_symlink():
            raise ValueError(f"there is no project {name!r}")
        # One object a project, as its lock is that of all its changes.
        return self._projects.setdefault(name, Project(self.root / name))

    def list_models(self, project: Project) -> dict[str, ModelInfo]:
        """Returns the models of a project by identifier, the shipped one first."""
        return list_models(project, self._models)

    def find_model(self, project: Project, model: object) -> ModelInfo:
        """Returns a model.

        Raises:
          ValueError: there is none.
        """
        models = self.list_models(project)
        if not isinstance(model, str) or model not in models:
            raise ValueError(f"there is no model {str(model)[:60]!r}")
        return models[model]

    def list_corpora(self, project: Project) -> dict[str, tuple[str, list[str]]]:
        """Returns {identifier: (name, folders)} of the corpora that an audit can search."""
        return list_corpora(project, self._corpora)

    # -- Takes -----------------------------------------------------------------------------------

    def compose(
        self,
        project: Project,
        model: ModelInfo,
        composition: Composition,
        settings: Settings,
        *,
        count: object = 1,
        name: object = "",
        recording: object = None,
        prompt_seconds: float = 0.0,
    ) -> list[str]:
        """Queues new takes with consecutive seeds; returns their identifiers.

        Args:
          recording: identifier of a recording that they continue.
          prompt_seconds: seconds of it that are kept.
        """
        takes = new_takes.compose_takes(
            project,
            model,
            composition,
            settings,
            count=count,
            name=name,
            recording=recording,
            prompt_seconds=prompt_seconds,
        )
        return [self._queue_take(project, take) for take in takes]

    def play_recording(
        self, project: Project, model: ModelInfo, settings: Settings, recording: object
    ) -> str:
        """Queues a recording as the model would play it."""
        return self._queue_take(
            project, new_takes.make_played_take(project, model, settings, recording)
        )

    def open_source(self, project: Project, take: object) -> Source:
        """Returns a take from which another one is to be made.

        Raises:
          ValueError: there is no such take, or its model is gone.
        """
        identifier, entry = project.read().find_take(take)
        model = self.find_model(project, entry.model)
        return Source(identifier, entry, model, self.read_files(project, identifier))

    def derive_take(
        self, project: Project, source: Source, mode: str, arguments: Sequence[str]
    ) -> str:
        """Queues a take that is made from another one; returns its identifier.

        Args:
          mode: for the tree.
        """
        return self._queue_take(
            project,
            Take(
                name=new_takes.name_child(source.take.name, mode),
                parent=source.identifier,
                mode=mode,
                model=source.model.identifier,
                arguments=tuple(arguments),
            ),
        )

    def trim_take(self, project: Project, take: object, first_bar: object, last_bar: object) -> str:
        """Makes a take of some bars of another one at once; returns its identifier."""
        parent, source = project.read().find_take(take)
        sound = self.read_files(project, parent)
        count = max(len(sound.bars), 1)
        first = int(check_number(first_bar, "the first bar", 1, count, is_whole=True))
        last = int(check_number(last_bar, "the last bar", first, count, is_whole=True))
        start, stop = composing.bar_range(sound, first, last)
        mode = f"trim {composing.describe_bars(first, last)}"
        models = self.list_models(project)
        model = models.get(source.model) or models.get(HOUSE)

        def make(identifier: str) -> Take:
            output = project.take_folder(identifier)
            try:
                trimming.trim_take(sound, model, start, stop, output)
            except (OSError, ValueError):
                shutil.rmtree(output, ignore_errors=True)
                raise
            name = new_takes.name_child(source.name, mode)
            return Take(name=name, parent=parent, mode=mode, model=source.model)

        return project.add_take(make)

    def judge_take(self, project: Project, take: object, corpus: object = None) -> None:
        """Queues the evaluation of a take, and its audit against a corpus."""
        identifier, entry = project.read().find_take(take)
        sound = self.read_files(project, identifier)
        if not sound.levels:
            raise ValueError("this take has no finished level yet; wait for it, or resume its job")
        folders: list[str] = []
        if corpus:
            corpora = self.list_corpora(project)
            if not isinstance(corpus, str) or corpus not in corpora:
                raise ValueError(f"there is no prepared corpus {str(corpus)[:60]!r}")
            folders = corpora[corpus][1]
        model = self.find_model(project, entry.model or HOUSE)
        steps = judging.list_judging_steps(
            project, identifier, project.take_folder(identifier), folders, model.folder
        )
        self.queue.add_chain(steps, project=project.folder.name, subject=identifier)

    def delete_take(self, project: Project, take: object) -> None:
        """Moves a take to the trash, and stops its jobs."""
        identifier, _ = project.read().find_take(take)
        project.delete_take(identifier)
        self.queue.stop_subject(project.folder.name, identifier)

    def empty_trash(self, project: Project) -> int:
        """Removes deleted takes for good; returns their number.

        Raises:
          ValueError: a job still writes to one of them.
        """
        for identifier in project.read().trash:
            if self.queue.find_active(project.folder.name, identifier):
                raise ValueError(f"a job of take {identifier} is still stopping; try again soon")
        return project.empty_trash()

    def read_files(self, project: Project, take: str) -> TakeFiles:
        """Reads what the folder of a take holds."""
        return read_take_files(project.take_folder(take))

    def resume_job(self, job: object) -> None:
        """Makes a stopped or failed job wait again.

        Raises:
          ValueError: it does not exist, or its take is deleted.
        """
        resumed = self.queue.find_job(job)
        if resumed.subject.startswith("t"):
            self.open_project(resumed.project).read().find_take(resumed.subject)
        self.queue.resume(resumed.identifier)

    def add_recording(self, project: Project, sent: Path) -> str:
        """Checks an uploaded recording and copies it into the project."""
        return recordings.add_recording(project, sent)

    def _queue_take(self, project: Project, take: Take) -> str:
        def make(identifier: str) -> Take:
            output = f"--output={project.take_folder(identifier)}"
            return Take(**{**vars(take), "arguments": (*take.arguments, output)})

        identifier = project.add_take(make)
        arguments = project.read().takes[identifier].arguments
        title = f"{take.name}: {take.mode}"
        try:
            steps = [("sample", arguments, title)]
            self.queue.add_chain(steps, project=project.folder.name, subject=identifier)
        except (OSError, ValueError):
            project.change(lambda state: state.takes.pop(identifier))
            raise
        return identifier

    def _finish_job(self, job: Job) -> None:
        """Adds what a finished job leaves to the studio."""
        if job.verb != "evaluate" or job.state != DONE:
            return
        try:
            project = self.open_project(job.project)
            judging.measure_key(project, job.subject, self.read_files(project, job.subject))
        except (OSError, ValueError) as error:
            print(f"the key of {job.subject} was not measured: {error}", file=sys.stderr)
