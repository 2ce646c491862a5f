"""Lyrics as the characters that condition a prior, and the part of them that belongs to a window.

Token 0 pads on the left. Version 2 knows 79 characters and version 3 one less, the "+"; together
with the padding that is a vocabulary of 80 or 79 (Jukebox paper, section 4.3).
"""

import functools
import re
import string
from collections.abc import Iterable, Sequence

import numpy as np

from jukejax.data.openai_labels import Version

PADDING = 0
ALPHABETS = {
    Version.V2: string.ascii_uppercase
    + string.ascii_lowercase
    + string.digits
    + ".,:;!?-+'\"()[] \t\n",
    Version.V3: string.ascii_uppercase
    + string.ascii_lowercase
    + string.digits
    + ".,:;!?-'\"()[] \t\n",
}


def vocab_size(version: Version | str) -> int:
    """Tokens, padding included."""
    return 1 + len(ALPHABETS[Version(version)])


def version_of(size: int) -> Version:
    """The version whose alphabet has `size` tokens."""
    for version in Version:
        if vocab_size(version) == size:
            return version
    raise ValueError(f"no lyric alphabet has {size} tokens; known: v2 (80) and v3 (79)")


@functools.cache
def vocabulary(version: Version | str) -> dict[str, int]:
    """Character to token."""
    return {character: i for i, character in enumerate(ALPHABETS[Version(version)], start=1)}


def clean(text: str, version: Version | str) -> str:
    """Text in the version's alphabet: other scripts in Latin letters, a backslash as a new line,
    and nothing of what is left then.

    Raises:
      ValueError: the text is not ASCII, and the package that transliterates is not installed.
    """
    outside = f"[^{re.escape(ALPHABETS[Version(version)])}]+"
    return re.sub(outside, "", _ascii(text).replace("\\", "\n"))


def _ascii(text: str) -> str:
    """OpenAI's transliteration, by the package that they use."""
    if text.isascii():
        return text
    try:
        from unidecode import unidecode  # optional: its licence is the GPL, ours is Apache-2.0
    except ModuleNotFoundError as error:
        first = next(character for character in text if not character.isascii())
        raise ValueError(
            f"the lyrics hold {first!r}, which is not ASCII: install jukejax[lyrics], or write "
            "them in plain letters"
        ) from error
    # Half of a surrogate pair is no character: left to Unidecode it is a warning.
    return unidecode("".join(c for c in text if not "\ud800" <= c <= "\udfff"))


def encode(text: str, version: Version | str) -> list[int]:
    """Cleaned text to tokens.

    Raises:
      ValueError: a character outside the alphabet; `clean` takes those away.
    """
    table = vocabulary(version)
    unknown = next((character for character in text if character not in table), None)
    if unknown is not None:
        raise ValueError(f"{unknown!r} is no character of the lyrics' alphabet; clean() the text")
    return [table[character] for character in text]


def decode(tokens: Iterable[int], version: Version | str) -> str:
    """The inverse of `encode`; padding gives nothing."""
    alphabet = ALPHABETS[Version(version)]
    return "".join(alphabet[token - 1] for token in tokens if token != PADDING)


def window(
    count: int,
    num_tokens: int,
    *,
    total_samples: int,
    offset: int,
    sample_length: int,
    dtype: type = np.float64,
) -> np.ndarray:
    """Which of a song's characters a window of audio is told, int32 [num_tokens].

    The characters are taken to be spread evenly over the song; the window is centred on those that
    belong to the middle of the audio, and stays inside the text. A text shorter than the window is
    told whole, behind -1s.

    Args:
      count: characters in the song's lyrics.
      num_tokens: characters in a window.
      total_samples: length of the song.
      offset, sample_length: of the audio window, in samples.
      dtype: of the arithmetic. OpenAI's data set computes in float64, its sampling in float32;
        in 6 of 200,000 windows the two differ, by one character.

    NOTE: OpenAI's code stops when the offset is not in the song; here the window stays at the end.
    """
    if count < num_tokens:
        return np.concatenate([np.full(num_tokens - count, -1), np.arange(count)]).astype(np.int32)
    middle = dtype(offset) + dtype(sample_length) / dtype(2)
    middle = int(dtype(count) * middle / dtype(total_samples))
    before = num_tokens // 2
    start = min(max(middle, before), count - (num_tokens - before)) - before
    return np.arange(start, start + num_tokens, dtype=np.int32)


def take(tokens: Sequence[int], indices: np.ndarray) -> np.ndarray:
    """The tokens at `indices` from `window`, int32, padding where they are -1."""
    padded = np.array([*tokens, PADDING], np.int32)  # index -1 is the padding
    return padded[indices]
