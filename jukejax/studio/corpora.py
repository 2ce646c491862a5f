"""The corpora that an audit can search: those of the command line, and those of a project."""

from collections.abc import Sequence
from pathlib import Path

from jukejax.studio.project import Project


def list_corpora(project: Project, extra: Sequence[Path]) -> dict[str, tuple[str, list[str]]]:
    """Returns {identifier: (name, folders)} of the corpora that are prepared.

    Args:
      extra: folders of the command line; the identifier of such a corpus is its path.
    """
    corpora = {str(path): (path.name, [str(path)]) for path in extra}
    for identifier, entry in project.read().entries.items():
        if not identifier.startswith("c"):
            continue
        folder = project.corpus_folder(identifier)
        parts = [folder / "audio", folder / "codes"]
        ready = [str(part) for part in parts if (part / "dataset.json").is_file()]
        if ready:
            corpora[identifier] = (entry.name, ready)
    return corpora
