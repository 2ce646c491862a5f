"""A project of the studio: a folder with takes, recordings, corpora and models.

PROJECT/project.json              names, the tree of takes, stars, the trash
PROJECT/takes/t0001/              a take: an output folder of `sample` with one item
PROJECT/judged/t0001/             its evaluation/, audit/, and figures.json
PROJECT/recordings/u0002.wav      an uploaded recording, as it was sent
PROJECT/corpora/c0003/            music/, audio/ of `prepare`, codes/ of `encode`
PROJECT/models/m0004/             prior/, a workdir of `train`, and bundle/ of `export`

project.json is replaced as a whole. A change is read, made and written under a lock, so that two
pages on one project do not lose each other's changes. Deleted takes stay in their folders until the
trash is emptied.
"""

import dataclasses
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jukejax.common import files
from jukejax.studio.names import check_id, clean_name
from jukejax.studio.state import FORMAT, Entry, State, Take, find_living_parent, parse_state

FILE = "project.json"

T = TypeVar("T")


class Project:
    """Reads and changes a project; safe for use by several threads of one process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.Lock()

    @classmethod
    def create(cls, folder: Path, name: str) -> "Project":
        """Creates the folder of a new project."""
        folder.mkdir(parents=True)
        project = cls(folder)
        project._write(State(clean_name(name)))
        return project

    def read(self) -> State:
        """Reads project.json.

        Raises:
          ValueError: it is missing or damaged.
        """
        return parse_state(files.read_json(self.folder / FILE), self.folder / FILE)

    def change(self, change: Callable[[State], T]) -> T:
        """Applies a function to the state and writes it; returns the value of the function.

        If the function raises, or the file cannot be written, nothing is changed.
        """
        with self._lock:
            state = self.read()
            value = change(state)
            self._write(state)
            return value

    def _write(self, state: State) -> None:
        files.write_json(self.folder / FILE, {"format": FORMAT} | dataclasses.asdict(state))

    # -- Takes -----------------------------------------------------------------------------------

    def take_folder(self, take: str) -> Path:
        """Returns the folder of a take."""
        return self.folder / "takes" / check_id(take, "t")

    def judged_folder(self, take: str) -> Path:
        """Returns the folder of the evaluation and the audit of a take."""
        return self.folder / "judged" / check_id(take, "t")

    def add_take(self, make: Callable[[str], Take]) -> str:
        """Adds a take; returns its identifier, which is not used again if `make` raises.

        Args:
          make: returns the take for its identifier; it may write the files of the take.
        """

        identifier = self.change(lambda state: state.add_identifier("t"))
        take = dataclasses.replace(make(identifier), created_at=time.time())
        self.change(lambda state: state.takes.update({identifier: take}))
        return identifier

    def update_take(self, take: object, **values: Any) -> None:
        """Changes fields of a take that is not deleted."""

        def update(state: State) -> None:
            identifier, current = state.find_take(take)
            state.takes[identifier] = dataclasses.replace(current, **values)

        self.change(update)

    def rename_take(self, take: object, name: object) -> None:
        """Renames a take."""
        self.update_take(take, name=clean_name(name))

    def delete_take(self, take: object) -> None:
        """Moves a take to the trash; takes made from it stay."""

        def delete(state: State) -> None:
            identifier, current = state.find_take(take)
            state.takes[identifier] = dataclasses.replace(current, is_deleted=True)
            state.trash.append(identifier)

        self.change(delete)

    def undo_delete(self) -> str:
        """Restores the take that was deleted last; returns its identifier.

        Raises:
          ValueError: the trash is empty.
        """

        def restore(state: State) -> str:
            if not state.trash:
                raise ValueError("the trash is empty")
            identifier = state.trash.pop()
            take = dataclasses.replace(state.takes[identifier], is_deleted=False)
            state.takes[identifier] = take
            return identifier

        return self.change(restore)

    def empty_trash(self) -> int:
        """Removes the deleted takes and their folders; returns their number.

        Takes that were made from one of them become those of its parent.
        """

        def forget(state: State) -> list[str]:
            removed = list(state.trash)
            for identifier, take in state.takes.items():
                parent = find_living_parent(state, take)
                state.takes[identifier] = dataclasses.replace(take, parent=parent)
            for identifier in removed:
                del state.takes[identifier]
            state.trash.clear()
            return removed

        removed = self.change(forget)
        for identifier in removed:
            for folder in (self.take_folder(identifier), self.judged_folder(identifier)):
                shutil.rmtree(folder, ignore_errors=True)
        return len(removed)

    # -- Recordings, corpora, models ---------------------------------------------------------------

    def add_entry(self, kind: str, make: Callable[[str], Entry]) -> str:
        """Adds a recording ("u"), corpus ("c") or model ("m"); returns its identifier.

        Args:
          make: returns the entry for its identifier.
        """

        identifier = self.change(lambda state: state.add_identifier(kind))
        entry = dataclasses.replace(make(identifier), created_at=time.time())
        self.change(lambda state: state.entries.update({identifier: entry}))
        return identifier

    def recording_path(self, recording: object) -> Path:
        """Returns the path of the sound of a recording."""
        _, entry = self.read().find_entry(recording, "u")
        return self.folder / "recordings" / entry.file

    def corpus_folder(self, corpus: str) -> Path:
        """Returns the folder of a corpus."""
        return self.folder / "corpora" / check_id(corpus, "c")

    def model_folder(self, model: str) -> Path:
        """Returns the folder of a model."""
        return self.folder / "models" / check_id(model, "m")
