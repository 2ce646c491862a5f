"""Lyrics as tokens, one for each character, and the tokens of a window of audio.

Token 0 pads on the left. Version 2 has 79 characters and version 3 has 78, without the "+"; with
the padding that is a vocabulary of 80 or 79 (Jukebox paper, section 4.3). "unicode" has the
characters of a corpus, of any script.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jukejax.common import extras
from jukejax.data.openai_labels import Version

PADDING = 0
UNICODE = "unicode"
MAX_CHARACTERS = 4095  # of a corpus; rarer ones are not used
_LATIN = string.ascii_uppercase + string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Alphabet:
    """The characters of lyrics: token i + 1 is `characters[i]`.

    Attributes:
      name: "v2", "v3" or "unicode".
    """

    name: str
    characters: str

    @property
    def size(self) -> int:
        """Returns the number of tokens, padding included."""
        return 1 + len(self.characters)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Returns the token of each character."""
        return {character: i for i, character in enumerate(self.characters, start=1)}

    def clean(self, text: str) -> str:
        """Converts a text to the characters of the alphabet; other characters are removed.

        For "v2" and "v3", as in OpenAI's code, other scripts are transliterated to Latin letters
        and a backslash becomes a new line. For "unicode" a character that is missing is replaced
        by the same letter in the other case or without accents, if there is one.

        Raises:
          ValueError: the text is not ASCII, and the package that transliterates is not installed.
        """
        if self.name == UNICODE:
            return "".join(map(self._find_substitute, unicodedata.normalize("NFC", text)))
        outside = f"[^{re.escape(self.characters)}]+"
        return re.sub(outside, "", _transliterate(text).replace("\\", "\n"))

    def encode(self, text: str) -> list[int]:
        """Converts cleaned text to tokens.

        Raises:
          ValueError: a character is not in the alphabet; `clean` removes those.
        """
        unknown = next((character for character in text if character not in self.ids), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} is no character of the lyrics' alphabet; clean it first")
        return [self.ids[character] for character in text]

    def decode(self, tokens: Iterable[int]) -> str:
        """Converts tokens to text, without the padding."""
        return "".join(self.characters[token - 1] for token in tokens if token != PADDING)

    def find_word_tokens(self, text: str) -> list[range]:
        """Returns the tokens of each word of `text.split()`, which may be none.

        The tokens are those of the whole text after `clean`.
        """
        ranges, position = [], 0
        for part in re.findall(r"\S+|\s+", text):
            length = len(self.clean(part))
            if not part.isspace():
                ranges.append(range(position, position + length))
            position += length
        return ranges

    def _find_substitute(self, character: str) -> str:
        """Returns a character of the alphabet for one of a text; "" if there is none."""
        plain = unicodedata.normalize("NFD", character)[:1]
        for candidate in (character, character.swapcase(), plain, plain.swapcase()):
            if candidate in self.ids:
                return candidate
        return ""


ALPHABETS = {
    Version.V2: Alphabet("v2", _LATIN + ".,:;!?-+'\"()[] \t\n"),
    Version.V3: Alphabet("v3", _LATIN + ".,:;!?-'\"()[] \t\n"),
}
ALPHABET_NAMES = (*(str(version) for version in Version), UNICODE)


def check_alphabet_name(name: str) -> None:
    """Raises ValueError if no alphabet has that name."""
    if name not in ("", *ALPHABET_NAMES):
        raise ValueError(f"lyrics.alphabet is {name!r}; known: {', '.join(ALPHABET_NAMES)}")


def find_alphabet(name: str, size: int, characters: str = "") -> Alphabet:
    """Returns the alphabet of a model.

    Args:
      name: one of `ALPHABET_NAMES`; "": that of the released models with `size` tokens.
      characters: those of the model's corpus, for "unicode".

    Raises:
      ValueError: no alphabet has that name or size.
    """
    check_alphabet_name(name)
    if name == UNICODE:
        return Alphabet(UNICODE, characters)
    if name:
        return ALPHABETS[Version(name)]
    for alphabet in ALPHABETS.values():
        if alphabet.size == size:
            return alphabet
    raise ValueError(
        f"no lyric alphabet has {size} tokens; known: v2 (80) and v3 (79), and unicode, which "
        "must be named in lyrics.alphabet"
    )


def choose_characters(texts: Iterable[str]) -> str:
    """Returns the characters of the lyrics of a corpus, for the alphabet "unicode", in order.

    A corpus with more than `MAX_CHARACTERS` keeps the most frequent ones. Control characters but
    the new line are not used. Without any lyrics there are no characters.
    """
    counts = Counter(c for text in texts for c in unicodedata.normalize("NFC", text))
    usable = [c for c in counts if c == "\n" or unicodedata.category(c)[0] != "C"]
    usable.sort(key=lambda c: (-counts[c], c))
    return "".join(sorted(usable[:MAX_CHARACTERS]))


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


def take_tokens(tokens: Sequence[int] | np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Returns the tokens at the indices of `window_indices`, int32, padding where they are -1."""
    padded = np.append(np.asarray(tokens, np.int32), np.int32(PADDING))  # index -1 is the padding
    return padded[indices]


@dataclass(frozen=True)
class LyricsReader:
    """Reads the lyric tokens of windows of tracks.

    Attributes:
      alphabet: of the model.
      num_tokens: characters in a window.
    """

    alphabet: Alphabet
    num_tokens: int

    def encode(self, text: str) -> np.ndarray:
        """Returns the tokens of a track, int32 [letters]."""
        return np.array(self.alphabet.encode(self.alphabet.clean(text)), np.int32)

    def read_window(
        self, tokens: np.ndarray, total_samples: int, offset: int, sample_length: int
    ) -> np.ndarray:
        """Returns the tokens of a window, int32 [num_tokens], as OpenAI's data set does."""
        indices = window_indices(
            len(tokens),
            self.num_tokens,
            total_samples=total_samples,
            offset=offset,
            sample_length=sample_length,
        )
        return take_tokens(tokens, indices)
