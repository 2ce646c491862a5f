"""The Python API: a model as an object, with NumPy arrays in and out (docs/python.md).

    import jukejax

    model = jukejax.load("house")
    tracks = model.sample(bpm=122, key="Am", bars=4)
    tracks.write_wav("track.wav")

Arguments have the names and meanings of the flags of the commands. A bad value raises ValueError
with the value and what to do. A model holds all of its state: several work side by side.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.auditing.auditor import Auditor
from jukejax.auditing.corpus import open_training
from jukejax.auditing.pieces import Sound
from jukejax.auditing.run import index_training
from jukejax.common.messages import name_values
from jukejax.data.audio import Recording, load_audio
from jukejax.evaluation.embedding import NAMED_LAYERS, select_layers
from jukejax.inference.activations import POOLINGS
from jukejax.inference.codec import Codec
from jukejax.inference.extractor import ActivationExtractor
from jukejax.inference.loaded_model import Model
from jukejax.inference.matched_decoding import decode_level
from jukejax.sampling.arguments import fill_arguments, list_settings, make_request
from jukejax.sampling.levels import OnProgress
from jukejax.sampling.tracks import Tracks, sample_in_memory
from jukejax.weights import bundle
from jukejax.weights.codec_identity import compare_codecs
from jukejax.weights.shipped import resolve_model

WEIGHTS = ("float", "int8")


@dataclass(frozen=True)
class Embedding:
    """Activations of a layer for a recording.

    Attributes:
      values: float32 [rows, emb_dim].
      begin_seconds, end_seconds: float [rows], the part of the recording of each row.
    """

    values: np.ndarray
    begin_seconds: np.ndarray
    end_seconds: np.ndarray


class Jukebox:
    """A model: a VQ-VAE, and priors where the bundle has some.

    Attributes:
      folder: of the model.
      sample_rate: of its sounds, in Hz.
      hops: samples of a code, by level; level 0 is the finest.
      levels: levels with a prior, which can be sampled, from coarse to fine.
    """

    def __init__(
        self,
        folder: str | Path,
        dtype: str | None = None,
        weights: str = "float",
        tensor: int = 0,
    ):
        """Loads a model; see `jukejax.load`."""
        with name_values():
            self.folder = Path(resolve_model(os.fspath(folder)))
            if weights not in WEIGHTS:
                raise ValueError(f"weights={weights!r} is not known; give {_join(WEIGHTS)}")
            self._model: Model | None = None
            if _has_priors(self.folder):
                self._model = Model(self.folder, dtype, weights, tensor)
            self._codec = self._model.codec if self._model else Codec.load(self.folder)
        self.sample_rate = self._codec.sample_rate
        self.hops = tuple(self._codec.config.hops)
        self.levels = tuple(reversed(self._model.levels)) if self._model else ()
        self._extractor: ActivationExtractor | None = None  # of the level embedded last

    def __repr__(self) -> str:
        levels = ", ".join(map(str, self.levels)) or "none"
        return f"Jukebox({str(self.folder)!r}, sample_rate={self.sample_rate}, levels: {levels})"

    @property
    def artists(self) -> list[str]:
        """The artists that `sample` knows; with OpenAI's labels in their spelling there."""
        return list(self._require_priors().read_vocabulary(self.levels[0]).artists)

    @property
    def genres(self) -> list[str]:
        """The genres that `sample` knows."""
        return list(self._require_priors().read_vocabulary(self.levels[0]).genres)

    def sample(
        self,
        *,
        artist: str | None = None,
        genre: str | None = None,
        lyrics: str = "",
        bpm: float | None = None,
        key: str | None = None,
        seconds: float | None = None,
        bars: float | None = None,
        prompt: np.ndarray | str | Path | None = None,
        sample_rate: int | None = None,
        prompt_seconds: float | None = None,
        first_beat: float | None = None,
        sections: str = "auto",
        codes: Tracks | str | Path | None = None,
        mode: str | None = None,
        reroll: tuple[float, float] | None = None,
        candidates: int = 4,
        loop: bool = False,
        levels: int | Sequence[int] | None = None,
        guidance: float | Sequence[float] | None = None,
        guided_labels: str | Sequence[str] | None = None,
        temperature: float | Sequence[float] | None = None,
        hop_fraction: float | Sequence[float] | None = None,
        top_k: int | Sequence[int] | None = None,
        top_p: float | Sequence[float] | None = None,
        min_p: float | Sequence[float] | None = None,
        schedule: str | None = None,
        seed: int = 0,
        num_samples: int = 1,
        progress: OnProgress | None = None,
    ) -> Tracks:
        """Generates tracks; the same settings and seed give the same tracks.

        Settings of sampling that are None are those that the model recommends, or else those of
        `jukejax.weights.recommended_settings.DEFAULTS`.

        >>> model = jukejax.load("house")
        >>> sketches = model.sample(bpm=122, key="Am", bars=1, levels=2, num_samples=2)
        >>> sketches.audio.shape, sketches.audio.dtype
        ((2, 86754), dtype('float32'))
        >>> track = model.sample(codes=sketches[1], mode="upsample", levels=1)
        >>> sorted(track.codes), track.audio.shape
        ([1, 2], (1, 86784))

        Args:
          artist, genre: names among `artists` and `genres`; several genres with commas.
          lyrics: text, for models with lyrics.
          bpm, key: tempo, and key such as "Am", "F# minor" or "8A".
          seconds, bars: length of a track, in seconds or in bars of four beats at `bpm`; default:
            12 seconds, or that of the source with mode "upsample".
          prompt: a recording to go on from, float [samples] or [samples, channels], or a file.
          sample_rate: of the prompt; None: that of the model.
          prompt_seconds: seconds of the prompt or of `codes` to keep; None: all.
          first_beat: start of a bar in the prompt, in seconds; None: estimated.
          sections: with their bars, such as "intro:4,drop:8", for models that know sections;
            "auto": those of `codes`, or drawn by the seed; "": unknown.
          codes: one of the tracks of an earlier call, or the codes.npz of a sample folder.
          mode: "ancestral" (new tracks), "primed" (from `prompt`), "continue" (from `codes`),
            "upsample" (keeps the coarsest level of either, and generates the finer ones) or
            "reroll"; None: by the arguments.
          reroll: (start, stop) in seconds, the range of `codes` to generate again.
          candidates: versions of that range, or of the last bar of a loop; the best is kept.
          loop: the end of a track leads to its beginning; needs `bars`.
          levels: levels to generate, from coarse to fine; 2 alone is a sketch. None: all.
          guidance: weight of the labels, one number or one for each level; 1: as trained.
          guided_labels: those that it is for, such as ("key",), or "all".
          temperature: randomness, one number or one for each level; 0: the most likely codes.
          hop_fraction: share of a window that is new in the next, one or one for each level.
          top_k, top_p, min_p: draw among the most likely codes only, one number or one for each
            level; 0: among all. min_p is applied before the temperature: codes that are at least
            this many times as likely as the likeliest.
          schedule: "sequential", or "parallel" for windows of the finer levels at once.
          seed, num_samples: of the random numbers; how many tracks.
          progress: called with (level, finished codes, all codes of a track) after every window;
            an exception that it raises ends the call. None: nothing is reported.

        Raises:
          ValueError: a value is out of range, not known to the model, or contradicts another one.
        """
        arguments = {name: value for name, value in locals().items() if name != "self"}
        del arguments["progress"]
        with name_values(lyrics_file="lyrics"):
            model = self._require_priors()
            if levels is None:
                arguments["levels"] = self.levels
            arguments = fill_arguments(arguments, model.sampling)
            request = make_request(arguments, self.sample_rate)
            computation = {"dtype": np.dtype(model.dtype).name, "weights": model.weights}
            settings = {"model": model.hash} | computation | list_settings(arguments)
            return sample_in_memory(model, request, settings, progress or _ignore_progress)

    def encode(self, audio: np.ndarray, sample_rate: int | None = None) -> dict[int, np.ndarray]:
        """Encodes a recording as codes of every level.

        It is resampled, mixed to mono and repaired (an offset, a silent channel, anti-phase) as the
        commands do. Samples at the end that do not fill a code of the coarsest level are dropped.

        >>> model = jukejax.load("house")
        >>> codes = model.encode(0.1 * np.sin(0.06 * np.arange(44100, dtype=np.float32)))
        >>> {level: (len(c), c.dtype) for level, c in codes.items()}
        {0: (5504, dtype('int32')), 1: (1376, dtype('int32')), 2: (344, dtype('int32'))}

        Args:
          audio: float [samples] or [samples, channels].
          sample_rate: of the audio; None: that of the model.

        Returns:
          {level: int32 [t]}.
        """
        with name_values():
            recording = self._open_recording(audio, sample_rate)
            sound = load_audio(recording, self.sample_rate)
            return dict(enumerate(self._codec.encode(sound.samples)))

    def decode(
        self, codes: np.ndarray, level: int, *, top_codes: np.ndarray | None = None
    ) -> np.ndarray:
        """Decodes codes of one level.

        >>> model = jukejax.load("house")
        >>> model.decode(np.zeros(16, int), level=2).shape
        (2048,)
        >>> model.decode(np.full(16, 2048), level=2)
        Traceback (most recent call last):
        ValueError: codes hold 2048, and must be whole numbers of 0 to 2047

        Args:
          codes: int [t], or [items, t] of several tracks.
          top_codes: those of the top level for the same time; with the shipped model they make the
            sound of the levels below clearer, as in `sample` (docs/house.md). None: not used.

        Returns:
          Mono sound, float32 [samples] or [items, samples]; a peak may be above 1.
        """
        if level not in range(len(self.hops)):
            raise ValueError(f"level={level!r} does not exist; give 0 to {len(self.hops) - 1}")
        size, top = self._codec.config.codebook_size, len(self.hops) - 1
        rows = {level: _check_codes(codes, size, "codes")}
        if top_codes is not None and level != top:
            rows[top] = _check_codes(top_codes, size, "top_codes")
            sizes = {(len(x), x.shape[1] * self.hops[k]) for k, x in rows.items()}
            if len(sizes) > 1:
                raise ValueError(
                    f"codes have the shape {list(np.shape(codes))} and top_codes "
                    f"{list(np.shape(top_codes))}, which is another time; give one code of the top "
                    f"level for each {self.hops[top] // self.hops[level]} codes"
                )
        sounds = [
            decode_level(self._codec, {k: x[i] for k, x in rows.items()}, level)[:, 0]
            for i in range(len(rows[level]))
        ]
        return sounds[0] if np.ndim(codes) == 1 else np.stack(sounds)

    def embed(
        self,
        audio: np.ndarray,
        layer: int | str = "middle",
        *,
        sample_rate: int | None = None,
        level: int | None = None,
        pooling: str = "mean",
        hop_fraction: float = 1.0,
        artist: str | None = None,
        genre: str | None = None,
    ) -> Embedding:
        """Computes the activations of a layer of a prior for a recording (docs/embeddings.md).

        Args:
          audio, sample_rate: as in `encode`.
          layer: 0 is the input of the stack, k the output of its block k; or "middle" or "last".
          level: of the prior; None: the coarsest one.
          pooling: over the codes of a window, "mean", "max" or "last"; "none": a row for each code.
          hop_fraction: share of a window that is new in the next one.
          artist, genre: labels for the prior; None: unknown, so that only the sound matters.

        Raises:
          ValueError: the model has no such prior or layer, or the recording is too short.
        """
        with name_values():
            model = self._require_priors()
            if pooling not in POOLINGS:
                raise ValueError(f"pooling={pooling!r} is not known; give {_join(POOLINGS)}")
            if not 0 < hop_fraction <= 1:
                raise ValueError(f"hop_fraction={hop_fraction} must be above 0 and at most 1")
            extractor = self._load_extractor(model, level)
            codes = self.encode(audio, sample_rate)
            result = extractor.extract_activations(
                [codes[level] for level in sorted(codes)],
                layers=[_find_layer(extractor, layer)],
                pooling=pooling,
                hop_fraction=hop_fraction,
                artist=artist,
                genre=genre,
            )
        seconds = self.hops[extractor.level] / self.sample_rate
        return Embedding(result.values[:, 0], result.begins * seconds, result.ends * seconds)

    def open_corpus(
        self, corpus: str | Path | Sequence[str | Path], cache: str | Path | None = None
    ) -> Auditor:
        """Opens the indexes of a training corpus for many calls of `audit`.

        They are built at the first time, beside the data.

        Args:
          corpus: audio shards of `prepare`, code shards of `encode` with this model, or both.
          cache: folder for the indexes; None: audit/ inside the data.

        Raises:
          ValueError: the data cannot be used, or its codes are those of another VQ-VAE.
        """
        paths = [corpus] if isinstance(corpus, str | Path) else list(corpus)
        with name_values(training="corpus"):
            audio_shards, code_shards = open_training([str(path) for path in paths])
            if code_shards is not None:
                identity = code_shards.info.get("vqvae")
                if compare_codecs(identity, self._codec.identity) is False:
                    raise ValueError(
                        f"corpus={code_shards.folder} was made with another VQ-VAE than that of "
                        f"{self.folder}; encode it with this one, or give the audio shards alone"
                    )
            folder = None if cache is None else Path(cache)
            return index_training(audio_shards, code_shards, self._codec, folder)

    def audit(
        self,
        audio: np.ndarray,
        corpus: Auditor | str | Path | Sequence[str | Path],
        *,
        sample_rate: int | None = None,
        prompt_seconds: float = 0.0,
    ) -> dict[str, Any]:
        """Searches a recording for copies of a training corpus (docs/audit.md).

        Args:
          audio, sample_rate: as in `encode`.
          corpus: as in `open_corpus`, or its result.
          prompt_seconds: length of the prompt at the start, which is not judged.

        Returns:
          The item of audit.json: "verdict" ("novel", "similar" or "copied"), "passages" with the
          training tracks that they resemble, "timeline" with the evidence of each second.
        """
        auditor = corpus if isinstance(corpus, Auditor) else self.open_corpus(corpus)
        with name_values(training="corpus", input="audio"):
            recording = self._open_recording(audio, sample_rate)
            sound = Sound("audio", recording, prompt_seconds=prompt_seconds)
            return auditor.audit_sound(sound)

    def _require_priors(self) -> Model:
        if self._model is None:
            raise ValueError(
                f"{self.folder} has a VQ-VAE, and no prior, which this needs; load a bundle that "
                "has one"
            )
        return self._model

    def _open_recording(self, audio: np.ndarray, sample_rate: int | None) -> Recording:
        return Recording(audio, self.sample_rate if sample_rate is None else sample_rate)

    def _load_extractor(self, model: Model, level: int | None) -> ActivationExtractor:
        """Returns the extractor of a level, which is kept for the next call."""
        level = self.levels[0] if level is None else level
        if self._extractor is None or self._extractor.level != level:
            self._extractor = None  # so that two priors are never in memory
            self._extractor = ActivationExtractor(model, level)
        return self._extractor


def _ignore_progress(level: int, done: int, total: int) -> None:
    """Reports nothing."""


def _has_priors(folder: Path) -> bool:
    """Returns true for a bundle with priors, false for a VQ-VAE.

    Raises:
      ValueError: the folder is no model, or a prior alone.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not a folder; give a bundle, a workdir of train, or house for the "
            "shipped model"
        )
    if bundle.is_bundle(folder):
        return bool(bundle.open_bundle(folder)["levels"])
    if not any((folder / name).exists() for name in ("description.json", "config.json")):
        raise ValueError(f"{folder} is no model: give a bundle of export, or a workdir of train")
    return False


def _join(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(names)


def _check_codes(codes: np.ndarray, size: int, name: str) -> np.ndarray:
    """Returns codes as int32 [items, t].

    Raises:
      ValueError: they are no codes of a codebook of `size`.
    """
    codes = np.asarray(codes)
    if codes.ndim not in (1, 2) or not codes.size:
        raise ValueError(f"{name} have the shape {list(codes.shape)}; give [t] or [items, t]")
    if codes.dtype.kind not in "iu" or not 0 <= codes.min() <= codes.max() < size:
        wrong = codes.dtype if codes.dtype.kind not in "iu" else _find_wrong(codes, size)
        raise ValueError(f"{name} hold {wrong}, and must be whole numbers of 0 to {size - 1}")
    return np.atleast_2d(codes).astype(np.int32)


def _find_wrong(codes: np.ndarray, size: int) -> int:
    """Returns the first code that is not one of `size`."""
    return int(codes[(codes < 0) | (codes >= size)][0])


def _find_layer(extractor: ActivationExtractor, layer: int | str) -> int:
    """Returns the number of a layer."""
    names = [name for name in NAMED_LAYERS if name != "all"]
    if layer not in names and not isinstance(layer, int | np.integer):
        raise ValueError(f"layer={layer!r} is not known; give a number, or {_join(names)}")
    depth = extractor.config.transformer.num_layers
    return select_layers([str(layer)], depth, extractor.middle_layer)[0]
