"""Lyrics as tokens, one for each character, and the tokens of a window of audio.

Token 0 pads on the left. Version 2 has 79 characters and version 3 has 78, without the "+"; with
the padding that is a vocabulary of 80 or 79 (Jukebox paper, section 4.3).
"""

import functools
import re
import string
from collections.abc import Iterable, Sequence

import numpy as np

from jukejax.common import extras
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
    """Returns the number of tokens, padding included."""
    return 1 + len(ALPHABETS[Version(version)])


def find_version(size: int) -> Version:
    """Returns the version whose alphabet has `size` tokens.

    Raises:
      ValueError: there is none.
    """
    for version in Version:
        if vocab_size(version) == size:
            return version
    raise ValueError(f"no lyric alphabet has {size} tokens; known: v2 (80) and v3 (79)")


@functools.cache
def character_ids(version: Version | str) -> dict[str, int]:
    """Returns the token of each character."""
    return {character: i for i, character in enumerate(ALPHABETS[Version(version)], start=1)}


def clean_text(text: str, version: Version | str) -> str:
    """Converts a text to the version's alphabet.

    Other scripts are transliterated to Latin letters, a backslash becomes a new line, and all other
    characters are removed.

    Raises:
      ValueError: the text is not ASCII, and the package that transliterates is not installed.
    """
    outside = f"[^{re.escape(ALPHABETS[Version(version)])}]+"
    return re.sub(outside, "", _transliterate(text).replace("\\", "\n"))


def _transliterate(text: str) -> str:
    """Transliterates text by Unidecode, as OpenAI's code does."""
    if text.isascii():
        return text
    try:
        from unidecode import unidecode  # optional: its license is the GPL, ours Apache-2.0
    except ModuleNotFoundError as error:
        first = next(character for character in text if not character.isascii())
        raise ValueError(
            f"the lyrics hold {first!r}, which is not ASCII: write them in plain letters, or "
            f"{extras.format_install('lyrics')}"
        ) from error
    # Unpaired surrogates are no characters, and Unidecode would print a warning.
    return unidecode("".join(c for c in text if not "\ud800" <= c <= "\udfff"))


def encode_text(text: str, version: Version | str) -> list[int]:
    """Converts cleaned text to tokens.

    Raises:
      ValueError: a character is not in the alphabet; `clean_text` removes those.
    """
    table = character_ids(version)
    unknown = next((character for character in text if character not in table), None)
    if unknown is not None:
        raise ValueError(
            f"{unknown!r} is no character of the lyrics' alphabet; call clean_text first"
        )
    return [table[character] for character in text]


def decode_tokens(tokens: Iterable[int], version: Version | str) -> str:
    """Converts tokens to text, without the padding."""
    alphabet = ALPHABETS[Version(version)]
    return "".join(alphabet[token - 1] for token in tokens if token != PADDING)


def window_indices(
    count: int,
    num_tokens: int,
    *,
    total_samples: int,
    offset: int,
    sample_length: int,
    dtype: type = np.float64,
) -> np.ndarray:
    """Returns the indices of the characters of a window of audio, int32 [num_tokens].

    The characters are assumed to be spread evenly over the song; the window is centered on the
    middle of the audio, and limited to the text. A text shorter than the window is used
    completely, after -1s.

    Args:
      count: characters in the song's lyrics.
      num_tokens: characters in a window.
      total_samples: length of the song.
      offset, sample_length: of the audio window, in samples.
      dtype: of the arithmetic. OpenAI's data set computes in float64, its sampling in float32;
        in 6 of 200,000 windows the results differ by one character.

    NOTE: OpenAI's code fails if the offset is not in the song; here the last window is returned.
    """
    if count < num_tokens:
        return np.concatenate([np.full(num_tokens - count, -1), np.arange(count)]).astype(np.int32)
    middle = dtype(offset) + dtype(sample_length) / dtype(2)
    middle = int(dtype(count) * middle / dtype(total_samples))
    padding = num_tokens // 2
    start = min(max(middle, padding), count - (num_tokens - padding)) - padding
    return np.arange(start, start + num_tokens, dtype=np.int32)


def take_tokens(tokens: Sequence[int], indices: np.ndarray) -> np.ndarray:
    """Returns the tokens at the indices of `window_indices`, int32, padding where they are -1."""
    padded = np.array([*tokens, PADDING], np.int32)  # index -1 is the padding
    return padded[indices]
