"""Activations of a prior for each track of a set, in files for music analysis.

Letters: t codes of a track, E emb_dim of the prior.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jukejax.common import files, output_locks
from jukejax.common.formatting import format_count
from jukejax.common.progress import Progress
from jukejax.evaluation.model_figures import check_rate
from jukejax.evaluation.sound_sets import Entry, SoundSet, find_middle
from jukejax.inference import activations
from jukejax.inference.extractor import ActivationExtractor
from jukejax.inference.loaded_model import Model
from jukejax.inference.spans import MonoSection

NAMED_LAYERS = ("middle", "last", "all")


@dataclass(frozen=True)
class Request:
    """Inputs and settings of an embedding.

    Attributes:
      model: folder of a model bundle.
      layers: numbers as text, or names of `NAMED_LAYERS`.
      level: of the prior; None: the coarsest one.
      pooling: of the codes of a window, one of `activations.POOLINGS`.
      hop_fraction: share of a window that is new in the next one.
      seconds: of each track, from its middle; 0: all.
      artist, genre: labels for the prior; None: "unknown".
      dtype: of the prior's weights; None: that of the device.
      batch_size: windows computed at once; it does not change the result.
    """

    model: str
    layers: Sequence[str] = ("middle",)
    level: int | None = None
    pooling: str = "mean"
    hop_fraction: float = 1.0
    seconds: float = 0.0
    artist: str | None = None
    genre: str | None = None
    dtype: str | None = None
    batch_size: int = 1


def select_layers(names: Sequence[str], depth: int, middle: int) -> list[int]:
    """Returns the numbers of layers of a prior with `depth` blocks, in order."""
    named = {"middle": [middle], "last": [depth], "all": range(depth + 1)}
    numbers = [named[name] if name in named else [int(name)] for name in names]
    return sorted({number for layers in numbers for number in layers})


def choose_file_name(track: str) -> str:
    """Returns a readable and unique file name for a track."""
    words = re.sub(r"[^\w.-]+", "_", track).strip("._")[:80] or "track"
    return f"{words}-{hashlib.sha256(track.encode()).hexdigest()[:8]}.npz"


class EmbeddingJob:
    """Writes a file of activations for each track of a set, or resumes an interrupted run.

    Attributes:
      layers: numbers of the layers that are written.
      level: of the prior.
      window_seconds: length of the prior's windows.
    """

    def __init__(self, request: Request, sounds: SoundSet, split: str):
        """Loads the model and checks the request.

        Args:
          split: of a prepared corpus, recorded with the settings.

        Raises:
          ValueError: the prior or a layer does not exist.
        """
        self._request, self._sounds, self._split = request, sounds, split
        self._model = Model(request.model, request.dtype)
        check_rate(self._model.codec)
        self._extractor = ActivationExtractor(self._model, request.level)
        self.level, self.window_seconds = self._extractor.level, self._extractor.window_seconds
        depth = self._extractor.config.transformer.num_layers
        self.layers = select_layers(request.layers, depth, self._extractor.middle_layer)
        activations.check_layers(self._extractor.config, self.layers)

    def run(self, output: Path) -> int:
        """Writes the missing files of all tracks, and tracks.json with their names.

        Returns:
          The number of tracks.

        Raises:
          ValueError: the folder has other settings, or tracks could not be embedded (the other
            tracks are written).
        """
        entries = self._sounds.entries
        with output_locks.lock_output(output, "embed"):
            settings = self._list_settings()
            files.check_settings(output / "settings.json", settings, flag="--output")
            files.write_json(output / "settings.json", settings)
            names = {entry.name: choose_file_name(entry.name) for entry in entries}
            missing = [entry for entry in entries if not (output / names[entry.name]).exists()]
            written = len(entries) - len(missing)
            progress = Progress("embedding, tracks", len(entries), done=written)
            failures = []
            for done, entry in enumerate(missing, start=written + 1):
                try:
                    arrays = self.compute_activations(entry)
                except ValueError as error:
                    failures.append(f"{entry.name}: {error}")
                    names.pop(entry.name)
                else:
                    files.write_arrays(output / names[entry.name], arrays)
                progress.update(done, entry.name)
            files.write_json(output / "tracks.json", names)
        if failures:
            number = format_count(len(entries), "track")
            raise ValueError(
                f"{len(failures)} of {number} could not be embedded, the others are "
                f"done in {output}; the first: {failures[0]}"
            )
        return len(entries)

    def compute_activations(self, entry: Entry) -> dict:
        """Computes the arrays of a track's file.

        Returns:
          {layer_K: float32 [windows, E], or [t, E] without pooling; begin_seconds, end_seconds}.
        """
        request = self._request
        with entry.open() as sound:
            middle = find_middle(len(sound), request.seconds)
            section = MonoSection(sound, middle.start, middle.stop)
            ((_, codes),) = self._model.codec.encode_all([section])
        result = self._extractor.extract_activations(
            codes,
            layers=self.layers,
            pooling=request.pooling,
            hop_fraction=request.hop_fraction,
            batch_size=request.batch_size,
            artist=request.artist,
            genre=request.genre,
        )
        seconds = self._model.hops[self.level] / self._model.sample_rate
        times = {"begin_seconds": result.begins * seconds, "end_seconds": result.ends * seconds}
        layers = {f"layer_{layer}": result.values[:, i] for i, layer in enumerate(self.layers)}
        return times | layers

    def _list_settings(self) -> dict:
        """Returns all settings that affect the activations."""
        request = self._request
        return {
            "model": self._model.hash,
            "level": self.level,
            "layers": self.layers,
            "input": str(self._sounds.path.resolve()),
            "split": self._split,
            "pooling": request.pooling,
            "hop_fraction": request.hop_fraction,
            "seconds": request.seconds,
            "artist": request.artist,
            "genre": request.genre,
            "dtype": request.dtype,
        }
