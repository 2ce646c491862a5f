"""Alignment of songs with their lyrics: the results of `align` for each song.

OUTPUT/SONG/alignment.json    times of words; layer, head and their measure; attention for the page
OUTPUT/SONG/alignment.lrc     times of lines and words, for players
OUTPUT/SONG/alignment.npz     attention: float16 [codes, letters]
OUTPUT/SONG/alignment.png     the same as a picture
OUTPUT/index.html             players and the lyrics

For generated tracks OUTPUT is their sample folder.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jukejax.analysis import lyric_times
from jukejax.analysis.lyric_times import TOLERANCE, TimedWord, TimingErrors
from jukejax.common import files
from jukejax.data import pipeline
from jukejax.data.lrc import format_lrc
from jukejax.data.sample_items import read_items
from jukejax.data.vocabularies import LenientIds
from jukejax.inference.align import LyricHead, align_lyrics, list_lyric_layers, rank_lyric_heads
from jukejax.inference.conditioning import PriorInputs, TrackCodes, cut_windows
from jukejax.inference.loaded_model import Model
from jukejax.inference.windows import list_window_starts
from jukejax.pages import alignment
from jukejax.sampling.songs import Song, find_lyric_level, open_code_shards, read_item

FILE = "alignment.json"


@dataclass(frozen=True)
class SongAlignment:
    """The alignment of a song.

    Attributes:
      words: of its lyrics.
      errors: of the starts whose times are known, in seconds.
      even_errors: of an even spread of the letters over the track, for comparison.
    """

    song: Song
    words: list[TimedWord]
    errors: np.ndarray
    even_errors: np.ndarray


class Aligner:
    """Aligns songs by the attention of one head of a model's prior with lyrics.

    Attributes:
      level: of the prior.
    """

    def __init__(self, model: Model):
        """Loads the prior.

        Raises:
          ValueError: the model has no lyrics.
        """
        self.model, self.level = model, find_lyric_level(model)
        self._reader = model.read_lyrics_reader(self.level)
        self._config, self._weights = model.load_prior(self.level)
        self._head: LyricHead | None = None

    @property
    def head(self) -> LyricHead:
        """Returns the head whose attention is used."""
        assert self._head is not None, "call name_head or find_head first"
        return self._head

    @property
    def seconds_per_code(self) -> float:
        """Returns the length of a code in seconds."""
        return self.model.hops[self.level] / self.model.sample_rate

    def name_head(self, layer: int | None = None, head: int | None = None) -> bool:
        """Uses the given head, or that of the model's config; returns false if both are unknown.

        Raises:
          ValueError: the head does not exist, or does not attend to lyrics.
        """
        lyrics = self._config.lyrics
        assert lyrics is not None
        layer = lyrics.alignment_layer if layer is None else layer
        head = lyrics.alignment_head if head is None else head
        if layer is None or head is None:
            return False
        layers, heads = list_lyric_layers(self._config), self._config.transformer.num_heads
        if layer not in layers or not 0 <= head < heads:
            raise ValueError(
                f"--layer={layer} --head={head} does not attend to lyrics; layers that do: "
                f"{', '.join(map(str, layers))}, heads: 0 to {heads - 1}"
            )
        self._head = LyricHead(layer, head, float("nan"))
        return True

    def find_head(self, windows: Iterator[PriorInputs]) -> list[LyricHead]:
        """Finds the head that attends to the letters of windows in their order, and uses it.

        Returns:
          All heads that attend to lyrics, the best one first.
        """
        heads = rank_lyric_heads(self._config, self._weights, windows)
        self._head = heads[0]
        return heads

    def open_heldout_windows(self, folder: Path, count: int) -> Iterator[PriorInputs]:
        """Yields windows of the held-out tracks of code shards, spread over them."""
        batches = pipeline.read_code_batches(
            open_code_shards(self.model, folder, "heldout").folder,
            "heldout",
            level=self.level,
            seq_len=self._config.seq_len,
            sizes=self._config.labels,
            vocabulary=LenientIds(self.model.read_vocabulary(self.level)),
            lyrics_reader=self._reader,
            batching=pipeline.Batching(1, shuffle=False, repeat=False, limit=count),
        )
        for batch in batches:
            if batch["labels"][0, -self._reader.num_tokens :].any():
                codes, labels = (jnp.asarray(batch[name]) for name in ("codes", "labels"))
                yield PriorInputs(codes, labels=labels)

    def open_song_windows(self, songs: Sequence[Song], count: int) -> Iterator[PriorInputs]:
        """Yields at most `count` windows of songs."""
        seq_len = self._config.seq_len
        places = (
            (song, start)
            for song in songs
            for start in list_window_starts(len(song.codes), seq_len, seq_len)
        )
        for song, start in islice(places, count):
            yield cut_windows(self._config, TrackCodes(song.codes, None, song.labels), [start])

    def align(self, song: Song, output: Path, *, hop_fraction: float = 0.5) -> SongAlignment:
        """Aligns a song and writes its files to `output`/NAME."""
        (attention,) = align_lyrics(
            self._config,
            self._weights,
            song.codes[None],
            [song.labels],
            window_hop=self.model.window_hop(self.level, hop_fraction),
            layer=self.head.layer,
            head=self.head.head,
        )
        words = song.text.split()
        letters = self._reader.alphabet.find_word_tokens(song.text)
        timed = lyric_times.time_words(attention, words, letters, self.seconds_per_code)
        result = self._measure(song, timed, letters)
        folder = output / song.name
        folder.mkdir(parents=True, exist_ok=True)
        table = self._describe(result, attention, letters)
        files.write_text(folder / "alignment.lrc", format_lrc(_split_lines(song.text, timed)))
        files.write_arrays(folder / "alignment.npz", {"attention": attention.astype(np.float16)})
        alignment.write_picture(
            attention, folder / "alignment.png", self.seconds_per_code, timed, letters
        )
        files.write_json(folder / FILE, table)
        return result

    def _measure(
        self, song: Song, timed: Sequence[TimedWord], letters: Sequence[range]
    ) -> SongAlignment:
        """Compares the words whose times are known."""
        numbers = {match.start(): i for i, match in enumerate(re.finditer(r"\S+", song.text))}
        known = [(numbers[index], time) for index, time in song.known_times if index in numbers]
        times = np.array([time for _, time in known])
        seconds = len(song.codes) * self.seconds_per_code
        even = lyric_times.spread_words(letters, len(song.labels.lyrics), seconds)
        return SongAlignment(
            song,
            list(timed),
            np.abs(np.array([timed[i].start for i, _ in known]) - times),
            np.abs(np.array([even[i] for i, _ in known]) - times),
        )

    def _describe(
        self, result: SongAlignment, attention: np.ndarray, letters: Sequence[range]
    ) -> dict[str, Any]:
        """Returns the content of alignment.json."""
        song, measure = result.song, self.head.monotonicity
        table: dict[str, Any] = {
            "model": self.model.hash,
            "level": self.level,
            "layer": self.head.layer,
            "head": self.head.head,
            "monotonicity": None if np.isnan(measure) else round(measure, 4),
            "seconds": round(len(song.codes) * self.seconds_per_code, 3),
            "lines": [len(line.split()) for line in song.text.splitlines()],
            "words": [asdict(word) for word in result.words],
            "sound": None if song.sound is None else str(song.sound.resolve()),
            **alignment.summarize_attention(attention, letters, self.seconds_per_code),
        }
        if result.errors.size:
            table["errors"] = asdict(TimingErrors.summarize(result.errors))
            table["errors_of_even_spread"] = asdict(TimingErrors.summarize(result.even_errors))
        return table


def _split_lines(text: str, timed: Sequence[TimedWord]) -> list[list[tuple[str, float]]]:
    """Returns the words and their starts, by line of the lyrics."""
    words = iter(timed)
    return [
        [(word.word, word.start) for word in islice(words, len(line.split()))]
        for line in text.splitlines()
    ]


def align_items(model: Model, output: Path, folders: Collection[Path]) -> None:
    """Aligns the generated tracks with lyrics in a sample folder that are not aligned yet.

    Models whose alignment head is unknown are left to `align`.

    Args:
      folders: of the items to align.
    """
    items = [
        item
        for item in read_items(output)
        if item.folder in folders and not (item.folder / FILE).exists()
    ]
    level = max(model.levels)
    lyrics = model.read_config(level).lyrics
    if not items or lyrics is None or lyrics.alignment_layer is None:
        return
    aligner = Aligner(model)
    aligner.name_head()
    for item in items:
        song = read_item(model, aligner.level, item)
        if song is not None:
            aligner.align(song, output)


def describe_errors(results: Sequence[SongAlignment]) -> str:
    """Describes the errors of all words whose times are known; "" without any."""
    errors, even = (
        np.concatenate([getattr(result, name) for result in results])
        for name in ("errors", "even_errors")
    )
    if not errors.size:
        return ""
    ours, spread = TimingErrors.summarize(errors), TimingErrors.summarize(even)
    return (
        f"of {ours.words} words whose time is known {ours.within:.1%} begin within "
        f"{TOLERANCE:g} s of it (of an even spread {spread.within:.1%}), half within "
        f"{ours.median:.2f} s ({spread.median:.2f} s)"
    )
