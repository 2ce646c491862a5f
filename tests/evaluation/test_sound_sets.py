"""Sounds that evaluate and embed find at a path."""

import numpy as np
import pytest
import soundfile

from jukejax.data import audio, corpus, vocabularies
from jukejax.data.writer import DatasetWriter
from jukejax.evaluation import sound_sets

RATE = audio.SAMPLE_RATE


def ramp(seconds, start=0.0):
    return np.linspace(start, start + 0.5, round(seconds * RATE), dtype=np.float32)[:, None]


def test_files_are_in_order_and_limited_evenly(tmp_path):
    for name in ("b.wav", "a.wav", "c/d.wav", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".wav":
            audio.write_wav(path, ramp(0.1))
        else:
            path.write_text("no sound")
    found = sound_sets.open_set(tmp_path, "input")
    assert (found.kind, [entry.name for entry in found.entries]) == (
        "files",
        ["a.wav", "b.wav", "c/d.wav"],
    )
    few = sound_sets.open_set(tmp_path, "input", limit=2)
    assert [entry.name for entry in few.entries] == ["a.wav", "b.wav"]
    one = sound_sets.open_set(tmp_path / "b.wav", "input")
    centered = ramp(0.1) - ramp(0.1).mean()  # an offset is a fault of recordings
    np.testing.assert_allclose(one.entries[0].read(), centered, atol=1e-4)


def test_generated_tracks_begin_after_the_prompt(tmp_path):
    item = tmp_path / "item_000"
    item.mkdir()
    (item / "meta.json").write_text('{"seconds": 1.0, "prompt_seconds": 0.25}')
    for level in (2, 1):
        audio.write_wav(item / f"level_{level}.wav", ramp(1.0, 0.1 * level))
    found = sound_sets.open_set(tmp_path, "input")
    assert found.kind == "samples"
    sound = found.entries[0].read()
    assert len(sound) == RATE - RATE // 4
    np.testing.assert_allclose(sound, ramp(1.0, 0.1)[RATE // 4 :], atol=1e-4)  # level 1 is finer


def write_corpus(folder, splits):
    vocabulary = vocabularies.Vocabulary.build(["a"], ["house"])
    with DatasetWriter(folder, kind="audio", vocabulary=vocabulary, separator="none") as writer:
        for split, names in splits.items():
            for name in names:
                track = corpus.Track(name, "a", ("house",), content=name)
                writer.add(split, track, audio=audio.to_int16(ramp(1.0)))


def test_tracks_of_a_corpus_by_split(tmp_path):
    write_corpus(tmp_path / "both", {"train": ["t", "t"], "heldout": ["h"]})
    by_split = {
        split: [
            e.name for e in sound_sets.open_set(tmp_path / "both", "input", split=split).entries
        ]
        for split in ("heldout", "train", "all")
    }
    assert by_split == {"heldout": ["h"], "train": ["t", "t (2)"], "all": ["t", "t (2)", "h"]}
    write_corpus(tmp_path / "one", {"train": ["t"]})
    assert [e.name for e in sound_sets.open_set(tmp_path / "one", "input").entries] == ["t"]


def test_sounds_are_read_from_their_middle(tmp_path):
    sound = ramp(2.0) - ramp(2.0).mean()  # an offset is a fault of recordings
    soundfile.write(tmp_path / "ramp.wav", sound, RATE, "FLOAT")
    (entry,) = sound_sets.open_set(tmp_path, "input").entries
    np.testing.assert_array_equal(entry.read(1.0), sound[RATE // 2 : 3 * RATE // 2])
    np.testing.assert_array_equal(entry.read(0.0), sound)
    np.testing.assert_array_equal(entry.read(9.0), sound)


def test_long_sounds_are_read_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(sound_sets, "LONGEST", 1)
    soundfile.write(tmp_path / "ramp.wav", ramp(2.0), RATE, "FLOAT")
    (entry,) = sound_sets.open_set(tmp_path, "input").entries
    assert len(entry.read()) == RATE


def test_paths_without_sounds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--reference=.*gone does not exist"):
        sound_sets.open_set(tmp_path / "gone", "reference")
    with pytest.raises(ValueError, match=r"--input=.* holds no sound"):
        sound_sets.open_set(tmp_path, "input")
    (tmp_path / "bad.wav").write_bytes(b"RIFFnot")
    (entry,) = sound_sets.open_set(tmp_path, "input").entries
    with pytest.raises(ValueError, match=r"bad\.wav"):
        entry.read()
