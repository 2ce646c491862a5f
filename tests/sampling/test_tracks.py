"""Tracks in memory are those of a folder."""

import json

import numpy as np
import pytest
import soundfile

from jukejax.common import files
from jukejax.data.audio import Recording
from jukejax.data.sample_items import MEASURED
from jukejax.inference.loaded_model import Model
from jukejax.sampling.folder import read_source_track
from jukejax.sampling.tracks import sample_in_memory
from tests.support import small_bundle
from tests.support.small_sample import SECONDS, make_request, sample

BAR = 60 / 400 * 4  # s, the shortest


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none"))


def check_equal(tracks, folder):
    """Compares tracks with the files of a folder."""
    for row, item in enumerate(sorted(folder.glob("item_*"))):
        meta = files.read_json(item / "meta.json")
        expected = {name: value for name, value in meta.items() if name not in (*MEASURED, "gain")}
        description = json.loads(json.dumps(tracks.descriptions[row]))
        assert {name: description[name] for name in expected} == expected
        source = read_source_track(str(item / "codes.npz"))
        assert source.codes.keys() == tracks.codes.keys()
        for level, codes in source.codes.items():
            np.testing.assert_array_equal(codes, tracks.codes[level][row])
        for level, sounds in tracks.sounds.items():
            written, _ = soundfile.read(item / f"level_{level}.wav", dtype="float32")
            sound = sounds[row] * meta["gain"][f"level_{level}"]
            np.testing.assert_allclose(written, sound, atol=2**-15)


@pytest.mark.parametrize(
    "values",
    [
        {"items": range(3, 5), "seed": 7, "artist": "anna"},
        {"seconds": 2 * BAR, "bpm": 400, "is_exact": True, "loop": True, "candidates": 2},
    ],
    ids=["new", "loop"],
)
def test_tracks_in_memory_are_those_of_a_folder(model, tmp_path, values):
    sample(model, tmp_path / "out", **values)
    tracks = sample_in_memory(model, make_request(**values), {})
    check_equal(tracks, tmp_path / "out")


def test_every_level_has_its_own_filter_of_codes(model):
    tracks = sample_in_memory(model, make_request(levels=(2, 1), top_k={2: 1}, items=range(2)), {})
    first, second = tracks.codes[2]
    np.testing.assert_array_equal(first, second)  # the most likely codes, whatever the noise
    assert (tracks.codes[1][0] != tracks.codes[1][1]).mean() > 0.3


def test_a_range_is_sampled_again_as_in_a_folder(model, tmp_path):
    tracks = sample_in_memory(model, make_request(levels=(2,)), {})
    tracks.write_folder(tmp_path / "first")
    values = {"mode": "reroll", "reroll": (0.1, 0.2), "seconds": None, "levels": (2,)}
    path = str(tmp_path / "first" / "item_000" / "codes.npz")
    sample(model, tmp_path / "second", codes=path, **values)
    rerolled = sample_in_memory(model, make_request(codes=tracks.to_source(), **values), {})
    check_equal(rerolled, tmp_path / "second")
    assert not np.array_equal(rerolled.codes[2], tracks.codes[2])


def test_a_recording_is_continued_like_its_file(model, tmp_path):
    sound = np.random.default_rng(0).normal(0, 0.1, (9000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "prompt.wav", sound, 32000, "FLOAT")
    values = {"mode": "primed", "levels": (2,), "seconds": 2 * SECONDS}
    sample(model, tmp_path / "out", prompt=str(tmp_path / "prompt.wav"), **values)
    tracks = sample_in_memory(model, make_request(prompt=Recording(sound, 32000), **values), {})
    check_equal(tracks, tmp_path / "out")


def test_items_are_taken_alone(model):
    tracks = sample_in_memory(model, make_request(items=range(2), levels=(2,)), {})
    np.testing.assert_array_equal(tracks[-1].audio, tracks.audio[1:])
    assert [len(track) for track in tracks] == [1, 1]
    with pytest.raises(IndexError, match="item 2 does not exist: there are 2"):
        tracks[2]
