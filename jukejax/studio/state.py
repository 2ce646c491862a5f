"""The state of a project: its takes with their tree, its recordings, corpora and models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jukejax.studio.names import check_id

FORMAT = 1
MAX_ENTRIES = 5000  # takes, recordings, corpora and models of a project


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


def parse_state(values: Mapping[str, Any], path: Path) -> State:
    """Returns the state that a project.json holds.

    Raises:
      ValueError: it is damaged.
    """
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
