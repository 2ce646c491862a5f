"""The lyrics of a prior's training: their alphabet, and the reader of their windows."""

from typing import Any

from ml_collections import ConfigDict

from jukejax.data import corpus
from jukejax.data.lyrics import LyricsReader, find_alphabet
from jukejax.data.vocabularies import Vocabulary
from jukejax.models.prior_config import PriorConfig
from jukejax.training import pretrained


def set_vocab_size(
    config: ConfigDict, lyrics: dict[str, Any], dataset: corpus.Dataset | None
) -> None:
    """Sets the number of characters that follows from `alphabet`, if the config omits it.

    Args:
      lyrics: values of `config.model.lyrics`.
      dataset: None: for planning without data; "unicode" then has no characters.
    """
    if lyrics.get("alphabet"):
        characters = _find_characters(config, dataset)
        lyrics.setdefault("vocab_size", find_alphabet(lyrics["alphabet"], 0, characters).size)


def make_lyrics_reader(
    config: ConfigDict, model: PriorConfig, dataset: corpus.Dataset | None
) -> LyricsReader | None:
    """Returns the reader of the model's lyrics, None without lyrics or data.

    Raises:
      ValueError: no track has lyrics, or the model has another number of characters.
    """
    lyrics = model.lyrics
    if lyrics is None or dataset is None:
        return None
    if not any(track.lyrics for split in corpus.SPLITS for track in dataset.tracks(split)):
        raise ValueError(
            f"config.model.lyrics needs lyrics, and no track of {dataset.folder} has any; prepare "
            "the music with them (prepare --metadata, or .lrc and .txt files) and encode it again, "
            "or remove model.lyrics"
        )
    alphabet = find_alphabet(lyrics.alphabet, lyrics.vocab_size, _find_characters(config, dataset))
    if alphabet.size != lyrics.vocab_size:
        raise ValueError(
            f"config.model.lyrics.vocab_size is {lyrics.vocab_size}, but the alphabet "
            f"{alphabet.name} has {alphabet.size} tokens here; remove vocab_size"
        )
    return LyricsReader(alphabet, lyrics.num_tokens)


def _find_characters(config: ConfigDict, dataset: corpus.Dataset | None) -> str:
    """Returns the characters of "unicode": those of `init_from`, else those of the data set."""
    vocabulary = Vocabulary() if dataset is None else dataset.vocabulary
    return pretrained.read_lyric_characters(config, vocabulary)
