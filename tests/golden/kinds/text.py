"""Golden checks of lyrics, labels and OpenAI's data set index: everything before the first array.

OpenAI's lists of names are not ours to ship. Where they are at hand (`ids/` beside the golden
files, or ../shared/golden/ids) the look-ups run through them; elsewhere through small lists that
hold the very names of the golden file, written to disk and read back. What the file says of the
whole lists (their sizes) can only be checked with them.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from jukejax.data import lyrics
from jukejax.data.labels import make_label_vector
from jukejax.data.openai_labels import OpenAIVocabulary, Version
from tests.golden.kinds.case import Case, Settings
from tests.support.openai_index import locate, track_ends
from tests.support.openai_lists import read_lists

ROOT = Path(__file__).resolve().parents[3]
COUNTS = "n_artist_entries,max_id,n_genre_entries,max_id"
PYTHON = "out/windows/indices_python_ints(get_label path)"
TORCH = "out/windows/indices_torch_int64(get_y path, float32 arithmetic)"


def openai_ids() -> Path | None:
    """The folder with OpenAI's own id lists, if there is one."""
    golden = os.environ.get("JUKEJAX_GOLDEN")
    folders = [Path(golden) / "ids"] if golden else []
    folders.append(ROOT.parent / "shared" / "golden" / "ids")
    return next((folder for folder in folders if (folder / "v3_genre_ids.txt").is_file()), None)


def check_text(case: Case) -> None:
    """Cleaning, tokens, look-ups, label vectors and lyric windows, of both versions."""
    for name in ("artists", "genres", "metas", "texts", "windows"):
        values = case.hps[name]
        plain = [dict(v) if isinstance(v, Settings) else v for v in values]
        assert case.json(f"in/{name}") == plain
    folder = openai_ids()
    for version in Version:
        golden = case.group(f"out/{version}/")
        check_characters(case, version)
        if folder is None:
            vocabulary = listed_in(case, version)
        else:
            vocabulary = read_lists(folder, version)
            tables = (vocabulary.artists, vocabulary.genres)
            counts = [number for table in tables for number in (len(table), max(table.values()))]
            np.testing.assert_array_equal(counts, golden[COUNTS])
        check_names(case, version, vocabulary)
        check_labels(case, version, vocabulary)
    check_lyric_windows(case)


def listed_in(case: Case, version: Version) -> OpenAIVocabulary:
    """A vocabulary of the names in the file alone, by way of lists on disk."""
    given = case.json("in/artists") + [meta["artist"] for meta in case.json("in/metas")]
    labels = case.json(f"out/{version}/get_label_y")
    numbers = [*case[f"out/{version}/artist_ids"], *(label[3] if label else 0 for label in labels)]
    artists = {"unknown": 0}
    for name, number in zip(given, numbers, strict=True):
        if number:
            artists[version.key(name)] = number
    genres = {"unknown": 0}
    texts = case.json("in/genres")
    for text, ids in zip(texts, case.json(f"out/{version}/genre_ids"), strict=True):
        genres |= {k: i for k, i in zip(version.genre_keys(text), ids, strict=True) if i}
    for meta, label in zip(case.json("in/metas"), labels, strict=True):
        if label:
            ids = zip(version.genre_keys(meta["genre"]), label[4:], strict=False)
            genres |= {key: number for key, number in ids if number}
    with tempfile.TemporaryDirectory() as folder:
        for what, table in (("artist", artists), ("genre", genres)):
            lines = "".join(f"{name};{number}\n" for name, number in table.items())
            (Path(folder) / f"{version}_{what}_ids.txt").write_text(lines, encoding="utf-8")
        return read_lists(folder, version)


def check_characters(case: Case, version: Version) -> None:
    golden = case.group(f"out/{version}/")
    alphabet = lyrics.ALPHABETS[version]
    assert alphabet.size == golden["n_vocab"]
    table = case.json(f"out/{version}/vocab")
    assert {**alphabet.ids, "<unk>": lyrics.PADDING} == table
    cleaned = [alphabet.clean(text) for text in case.json("in/texts")]
    assert cleaned == case.json(f"out/{version}/clean")
    tokens = [alphabet.encode(text) for text in cleaned]
    assert tokens == case.json(f"out/{version}/tokens")
    assert [alphabet.decode(row) for row in tokens] == case.json(f"out/{version}/textise")


def check_names(case: Case, version: Version, vocabulary: OpenAIVocabulary) -> None:
    artists, genres = case.json("in/artists"), case.json("in/genres")
    numbers = [vocabulary.artist_id(name, lenient=True) for name in artists]
    np.testing.assert_array_equal(numbers, case[f"out/{version}/artist_ids"])
    found = [list(vocabulary.genre_ids(text, lenient=True)) for text in genres]
    assert found == case.json(f"out/{version}/genre_ids")
    for number, name in zip(numbers, case.json(f"out/{version}/artist_names_of_ids"), strict=True):
        # A rebuilt list need not hold the other names of an id, such as those of 0.
        if openai_ids() is not None or name in vocabulary.artists:
            names = (key for key, value in vocabulary.artists.items() if value == number)
            assert "_".join(sorted(names)) == name  # as in OpenAI's logs
    for name, number in zip(artists, numbers, strict=True):  # what users type agrees
        if number:
            assert vocabulary.artist_id(name) == number


def our_label(
    meta: dict, start: int, case: Case, version: Version, vocabulary: OpenAIVocabulary, dtype: type
) -> tuple[np.ndarray, np.ndarray]:
    """(label with lyrics, indices of the lyrics) of the window that starts at code `start`."""
    hps = case.hps
    alphabet = lyrics.ALPHABETS[version]
    tokens = alphabet.encode(alphabet.clean(meta["lyrics"]))
    place = {
        "total_samples": meta["total_length"],
        "offset": meta["offset"] + start * hps["raw_to_tokens"],
        "sample_length": hps["sample_length"],
    }
    indices = lyrics.window_indices(len(tokens), hps["n_tokens"], **place, dtype=dtype)
    label = make_label_vector(
        **place,
        artist=vocabulary.artist_id(meta["artist"], lenient=True),
        genres=vocabulary.genre_ids(meta["genre"], lenient=True),
        max_genres=version.max_genres,
    )
    return np.concatenate([label, lyrics.take_tokens(tokens, indices)]), indices


def check_labels(case: Case, version: Version, vocabulary: OpenAIVocabulary) -> None:
    """Whole label vectors: of a data set's item, and of the windows of a sampling run."""
    metas, labels = case.json("in/metas"), case.json(f"out/{version}/get_label_y")
    accepted = []
    for meta, golden in zip(metas, labels, strict=True):
        inside = 0 <= meta["offset"] < meta["total_length"]
        if golden is not None:
            ours, _ = our_label(meta, 0, case, version, vocabulary, np.float64)
            np.testing.assert_array_equal(ours, golden)
            accepted.append(meta)
        elif inside:  # OpenAI's code stopped at a genre of too many words; so does ours
            with pytest.raises(ValueError, match="words, but the model takes at most"):
                vocabulary.genre_ids(meta["genre"])
    for start in case.hps["starts"]:
        pairs = [our_label(m, start, case, version, vocabulary, np.float32) for m in accepted]
        for ours, name in zip(zip(*pairs, strict=True), ("get_y", "indices"), strict=True):
            np.testing.assert_array_equal(ours, case[f"out/{version}/{name}_start{start}"])


def check_lyric_windows(case: Case) -> None:
    """Both arithmetics, and how often they differ."""
    differing = 0
    windows = case.json("in/windows")
    for (count, num_tokens, total, offset, length), double, single in zip(
        windows, case.json(PYTHON), case.json(TORCH), strict=True
    ):
        place = {"total_samples": total, "offset": offset, "sample_length": length}
        ours = [
            lyrics.window_indices(count, num_tokens, **place, dtype=dtype)
            for dtype in (np.float64, np.float32)
        ]
        for indices, golden in zip(ours, (double, single), strict=True):
            if golden is None:
                assert not 0 <= offset < total
            else:
                np.testing.assert_array_equal(indices, golden)
        differing += not np.array_equal(*ours)
    assert differing == case["out/windows/n_differing"]


def check_dataset_index(case: Case) -> None:
    """Item to (track, offset), with and without a random shift."""
    hps = case.hps
    np.testing.assert_array_equal(case["in/durations"], hps["durations"])
    np.testing.assert_array_equal(case["in/shifts"], hps["shifts"])
    size, rate, shifts = hps["sample_length"], hps["sr"], case["in/shifts"]
    kept, ends = track_ends(
        case["in/durations"], hps["min_duration"] * rate, hps["max_duration"] * rate
    )
    np.testing.assert_array_equal(kept, case["out/kept"])
    count = int(ends[-1]) // size
    assert count == case["out/len"]
    plain = [locate(item, 0, ends, size) for item in range(count)]
    np.testing.assert_array_equal(plain, case["out/index_offset_noshift"])
    shifted = [
        locate(item, int(shifts[item % len(shifts)]), ends, size) or (-1, -1)
        for item in range(count)
    ]
    np.testing.assert_array_equal(
        shifted, case["out/index_offset_shift(-1=AssertionError in original)"]
    )
