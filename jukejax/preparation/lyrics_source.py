"""Lyrics of a track: from the metadata, a file beside the sound, its tags, or the house corpus.

Times, where the source has some, are in seconds of the source until `choose_lyrics`.
"""

import os
from dataclasses import replace

from jukejax.common import storage
from jukejax.data import audio
from jukejax.data.lrc import TimedLyrics, has_line_times, parse_lrc
from jukejax.preparation.prepared_track import PreparedTrack

SUFFIXES = (".lrc", ".txt")  # of files beside the sound, the first one that exists
LARGEST = 1 << 18  # bytes of a file of lyrics


def parse_lyrics(text: str) -> TimedLyrics:
    """Parses plain text, or that of an LRC file, which tags often hold as well."""
    if has_line_times(text):
        return parse_lrc(text)
    return TimedLyrics("\n".join(line.strip() for line in text.strip().splitlines()))


def is_lyrics_path(text: str) -> bool:
    """Returns true if a text is the path of a file of lyrics, not lyrics."""
    return "\n" not in text and text.strip().lower().endswith(SUFFIXES)


def read_lyrics_file(path: str | os.PathLike) -> TimedLyrics:
    """Reads a file of lyrics, also of a bucket.

    Raises:
      ValueError: it cannot be read, is no UTF-8 text, or is larger than lyrics are.
    """
    try:
        with storage.local_copy(os.fspath(path)) as local, open(local, "rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise ValueError(f"{path} is larger than {LARGEST >> 10} kB: no lyrics of a track")
    try:
        return parse_lyrics(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8") from error


def choose_lyrics(track: PreparedTrack, lyrics: TimedLyrics) -> PreparedTrack:
    """Returns the track with its final lyrics, with times in seconds of the stored audio.

    Args:
      track: with the lyrics of its tags, or of the house corpus.
      lyrics: of the metadata file or of a file beside the sound; these precede.
    """
    chosen = lyrics if lyrics.text else track.lyrics
    if track.is_joined and chosen.times:
        note = "passages were cut out: the times of its lyrics are unknown"
        return replace(track, lyrics=TimedLyrics(chosen.text), notes=[*track.notes, note])
    start = track.first_sample / audio.SAMPLE_RATE
    times = tuple((index, round(time - start, 4)) for index, time in chosen.times)
    return replace(track, lyrics=TimedLyrics(chosen.text, times))
