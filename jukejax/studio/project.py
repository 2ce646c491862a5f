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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jukejax.common import files
from jukejax.studio.names import check_id, clean_name

FILE = "project.json"
FORMAT = 1
MAX_ENTRIES = 5000  # takes, recordings, corpora and models of a project

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Take:
    """A take.

    Attributes:
      parent: identifier of the take that it was made from; None: from none, or a recording.
      mode: how it was made, such as "new", "continue", "re-roll bars 5 to 8".
      model: identifier of the model, or "house".
      arguments: of the command that makes it; empty for a trimmed take.
      is_deleted: it is in the trash.
    """

    name: str
    parent: str | None = None
    mode: str = "new"
    model: str = ""
    arguments: tuple[str, ...] = ()
    is_starred: bool = False
    is_deleted: bool = False
    created_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A recording, a corpus or a model.

    Attributes:
      file: name of the file of a recording in its folder.
      source: identifier of the corpus that a model was tuned on.
      seconds: length of a recording.
    """

    name: str
    file: str = ""
    source: str = ""
    seconds: float = 0.0
    created_at: float = 0.0


@dataclass
class State:
    """The content of project.json.

    Attributes:
      number: of the last identifier.
      trash: deleted takes, the last one last.
    """

    name: str
    number: int = 0
    takes: dict[str, Take] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    trash: list[str] = field(default_factory=list)

    def find_take(self, take: object) -> tuple[str, Take]:
        """Returns a take that is not deleted, with its identifier.

        Raises:
          ValueError: there is none.
        """
        identifier = check_id(take, "t")
        if identifier not in self.takes or self.takes[identifier].is_deleted:
            raise ValueError(f"take {identifier} does not exist any more; it may be in the trash")
        return identifier, self.takes[identifier]

    def find_entry(self, entry: object, kind: str) -> tuple[str, Entry]:
        """Returns a recording, corpus or model with its identifier.

        Raises:
          ValueError: there is none.
        """
        identifier = check_id(entry, kind)
        if identifier not in self.entries:
            raise ValueError(f"{identifier} does not exist any more")
        return identifier, self.entries[identifier]

    def add_identifier(self, kind: str) -> str:
        """Returns a new identifier."""
        if len(self.takes) + len(self.entries) >= MAX_ENTRIES:
            raise ValueError(f"a project holds at most {MAX_ENTRIES} takes and recordings")
        self.number += 1
        return f"{kind}{self.number:04d}"


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
        return _parse_state(files.read_json(self.folder / FILE), self.folder / FILE)

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


def find_living_parent(state: State, take: Take) -> str | None:
    """Returns the nearest ancestor of a take that is not deleted; None if there is none."""
    seen: set[str] = set()
    parent = take.parent
    while parent in state.takes and state.takes[parent].is_deleted and parent not in seen:
        seen.add(parent)
        parent = state.takes[parent].parent
    return parent if parent in state.takes and not state.takes[parent].is_deleted else None


def list_tree(state: State) -> list[tuple[int, str, Take]]:
    """Returns (depth, identifier, take) of the takes that are not deleted, parents first."""
    children: dict[str | None, list[str]] = {}
    for identifier, take in state.takes.items():
        if not take.is_deleted:
            children.setdefault(find_living_parent(state, take), []).append(identifier)
    rows: list[tuple[int, str, Take]] = []
    stack = [(0, identifier) for identifier in reversed(sorted(children.get(None, [])))]
    while stack:
        depth, identifier = stack.pop()
        rows.append((depth, identifier, state.takes[identifier]))
        below = reversed(sorted(children.get(identifier, [])))
        stack += [(depth + 1, child) for child in below]
    return rows


def _parse_state(values: Mapping[str, Any], path: Path) -> State:
    try:
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}, not {FORMAT}")
        takes = {
            check_id(key, "t"): Take(**{**value, "arguments": tuple(value["arguments"])})
            for key, value in values["takes"].items()
        }
        entries = {key: Entry(**value) for key, value in values["entries"].items()}
        trash = [key for key in values["trash"] if key in takes]
        return State(values["name"], values["number"], takes, entries, trash)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
