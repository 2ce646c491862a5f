"""Songs to align: tracks with lyrics, and their codes at a level of a model.

They are the items of a sample folder, the tracks of code shards, or files of sound.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from jukejax.common.json_values import parse_number
from jukejax.data import audio, corpus, decoding
from jukejax.data.codes_file import read_codes_file
from jukejax.data.lrc import TimedLyrics
from jukejax.data.sample_items import Item, read_items
from jukejax.data.vocabularies import LenientIds
from jukejax.inference.conditioning import Labels
from jukejax.inference.loaded_model import Model
from jukejax.preparation import sources
from jukejax.preparation.lyrics_source import read_lyrics_file
from jukejax.preparation.metadata import read_tags
from jukejax.sampling.folder import read_grid
from jukejax.weights.codec_identity import compare_codecs


@dataclass(frozen=True)
class Song:
    """A track with lyrics.

    Attributes:
      name: of its folder in the output.
      codes: int32 [t].
      text: of the whole piece.
      known_times: (character of `text`, seconds) where a word or a line begins.
      sound: a file with the sound.
    """

    name: str
    codes: np.ndarray
    labels: Labels
    text: str
    known_times: tuple[tuple[int, float], ...] = ()
    sound: Path | None = None


def find_lyric_level(model: Model) -> int:
    """Returns the coarsest level whose prior has lyrics.

    Raises:
      ValueError: no prior has any.
    """
    levels = [level for level in model.levels if model.read_config(level).lyrics is not None]
    if not levels:
        raise ValueError(
            f"{model.folder} was made without lyrics; take a model whose top prior has model.lyrics"
        )
    return max(levels)


def open_songs(
    model: Model,
    level: int,
    path: Path,
    *,
    lyrics_file: str | None = None,
    artist: str | None = None,
    genre: str | None = None,
    split: str = "heldout",
) -> Iterator[Song]:
    """Yields the songs of a sample folder, of code shards, of a folder of sounds, or of one file.

    Args:
      lyrics_file: of one file of sound; others have lyrics beside them or in their tags.
      artist, genre: of files of sound; None: unknown.
      split: of code shards.

    Raises:
      ValueError: there are no songs with lyrics, or a setting does not fit the input.
    """
    if not path.exists():
        raise ValueError(f"--input={path} does not exist")
    if lyrics_file is not None and not path.is_file():
        raise ValueError(f"--lyrics_file={lyrics_file} is for one file of sound, not for {path}")
    if (path / "dataset.json").exists():
        yield from _read_corpus(model, level, path, split)
    elif path.is_dir() and any(path.glob("item_*/meta.json")):
        yield from _read_samples(model, level, path)
    else:
        yield from _read_files(model, level, path, lyrics_file, artist, genre)


def open_code_shards(model: Model, folder: Path, flag: str) -> corpus.Dataset:
    """Opens code shards of the model's VQ-VAE.

    Args:
      flag: flag of the folder, for messages.

    Raises:
      ValueError: the folder holds no codes, or those of another VQ-VAE.
    """
    dataset = corpus.open_dataset(folder)
    if dataset.kind != "codes":
        raise ValueError(f"--{flag}={folder} holds {dataset.kind}; run encode on it")
    if not compare_codecs(dataset.info.get("vqvae"), model.codec.identity):
        raise ValueError(
            f"--{flag}={folder} was made by another VQ-VAE than that of {model.folder}; run encode "
            "with this one"
        )
    return dataset


def read_item(model: Model, level: int, item: Item) -> Song | None:
    """Reads a generated track; None if it has no lyrics, or no codes of the level."""
    text, path = item.meta.get("lyrics"), item.folder / "codes.npz"
    codes = read_codes_file(path) if text and path.exists() else {}
    if level not in codes:
        return None
    seconds = len(codes[level]) * model.hops[level] / model.sample_rate
    offset = parse_number(item.meta.get("offset_seconds")) or 0.0
    labels = model.encode_labels(
        level,
        artist=item.meta.get("artist"),
        genre=item.meta.get("genre"),
        total_seconds=parse_number(item.meta.get("total_seconds")) or offset + seconds,
        offset_seconds=offset,
        text=str(text),
    )
    labels = labels._replace(grid=read_grid(path))
    sounds = list(item.wavs.values())
    return Song(
        item.folder.name,
        codes[level].astype(np.int32),
        labels,
        str(text),
        sound=sounds[0] if sounds else None,
    )


def _read_samples(model: Model, level: int, folder: Path) -> Iterator[Song]:
    songs = [read_item(model, level, item) for item in read_items(folder)]
    if not any(songs):
        raise ValueError(f"--input={folder} has no track with lyrics and codes of level {level}")
    yield from (song for song in songs if song is not None)


def _read_corpus(model: Model, level: int, folder: Path, split: str) -> Iterator[Song]:
    dataset = open_code_shards(model, folder, "input")
    tracks = dataset.tracks(split)
    if not any(track.lyrics for track in tracks):
        raise ValueError(f"no {split} track of --input={folder} has lyrics; prepare it with some")
    vocabulary, reader = LenientIds(model.read_vocabulary(level)), model.read_lyrics_reader(level)
    for number, track in enumerate(tracks):
        if not track.lyrics:
            continue
        labels = Labels(
            artist=vocabulary.artist_id(track.artist),
            genres=vocabulary.track_genre_ids(track.genre),
            total_samples=track.offset + track.samples,
            offset=track.offset,
            lyrics=tuple(reader.encode(track.lyrics).tolist()),
            grid=track.grid,
        )
        (codes,) = dataset.read_codes(split, number, [level])
        yield Song(
            _name_folder(number, track.name),
            codes.astype(np.int32),
            labels,
            track.lyrics,
            track.lyric_times,
        )


def _read_files(
    model: Model,
    level: int,
    path: Path,
    lyrics_file: str | None,
    artist: str | None,
    genre: str | None,
) -> Iterator[Song]:
    """Yields the file, or the files of a folder, that have lyrics."""
    folder = path if path.is_dir() else path.parent
    listing = sources.find_files(folder)
    is_found = False
    for number, source in enumerate(listing.sources):
        if path.is_file() and Path(source.path) != path:
            continue
        lyrics = _read_lyrics(source.path, lyrics_file or listing.lyrics.get(source.name))
        if lyrics.text:
            is_found = True
            sound = audio.load_audio(source.path, model.sample_rate).samples
            labels = model.encode_labels(
                level,
                artist=artist,
                genre=genre,
                total_seconds=len(sound) / model.sample_rate,
                text=lyrics.text,
            )
            codes = model.codec.encode(sound)[level].astype(np.int32)
            name = _name_folder(number, source.name)
            yield Song(name, codes, labels, lyrics.text, lyrics.times, Path(source.path))
    if not is_found:
        raise ValueError(
            f"--input={path} has no sound with lyrics; give --lyrics_file, or a .lrc or .txt file "
            "of the same name beside it"
        )


def _read_lyrics(sound: str, path: str | None) -> TimedLyrics:
    """Reads the lyrics of a sound from a file, else from its tags."""
    if path is not None:
        return read_lyrics_file(path)
    with decoding.open_sound(sound) as opened:
        return read_tags(sound, opened.tags).lyrics


def _name_folder(number: int, name: str) -> str:
    """Returns the name of the folder of a song."""
    words = re.sub(r"[^\w.-]+", "_", PurePosixPath(name).stem).strip("._")[:80]
    return f"song_{number:03d}_{words}".rstrip("_")
