"""Both of OpenAI's lists of a version from a folder with their file names."""

import os
from pathlib import Path

from jukejax.data.openai_labels import OpenAIVocabulary, Version, read_ids


def read_lists(folder: str | os.PathLike, version: Version | str) -> OpenAIVocabulary:
    """Reads an artist list and a genre list, such as `v3_artist_ids.txt`.

    Raises:
      ValueError: a file is missing or no such list.
    """
    paths = [Path(folder) / f"{Version(version)}_{kind}_ids.txt" for kind in ("artist", "genre")]
    for path in paths:
        if not path.is_file():
            raise ValueError(
                f"{path} is missing: the folder needs OpenAI's {paths[0].name} and {paths[1].name} "
                "(jukebox/data/ids in their repository)"
            )
    return OpenAIVocabulary(Version(version), *map(read_ids, paths))
