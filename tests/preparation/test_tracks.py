"""Preparation of single tracks and its cache."""

import numpy as np
import pytest
import soundfile

from jukejax.analysis import fidelity
from jukejax.preparation import house, rules, separators, tracks
from jukejax.preparation.job import Job
from tests.support.house_tracks import house_track
from tests.support.preparation import RATE, music


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("music") / "a.wav"
    soundfile.write(path, music(seed=1), RATE)
    return tracks.Source("a.wav", path=str(path))


def test_the_processing_is_part_of_the_cache_key(source, tmp_path):
    plain = separators.Separator("none")
    variants = [(plain, rules.Rules()), (separators.Separator("none", hash="b"), rules.Rules())]
    variants += [(plain, rules.Rules(fades="keep")), (plain, rules.Rules(loudness=-14.0))]
    arrays = {
        Job(separator, str(tmp_path), variant)(source).array for separator, variant in variants
    }
    assert len(arrays) == len(variants)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert {
        Job(separator, str(tmp_path), variant)(source).array for separator, variant in variants
    } == arrays
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_a_house_track_is_measured_against_its_truth(tmp_path, monkeypatch):
    monkeypatch.setattr(house, "track", house_track)
    track = house_track(1)
    source = tracks.Source("house_0001", index=1, seconds=16.0)
    prepared = tracks.prepare_track(
        source, separators.make_separator("repet"), str(tmp_path), rules.Rules()
    )
    before = fidelity.si_sdr(track.mix, track.instrumental)
    assert prepared.sdr["before"] == pytest.approx(before, abs=1e-3)
    sound = np.load(prepared.array).astype(np.float32)
    assert prepared.sdr["after"] == pytest.approx(
        fidelity.si_sdr(sound, track.instrumental), abs=0.01
    )
    assert prepared.sdr["after"] > before + 1
    assert (prepared.artist, prepared.genre, prepared.bpm) == (track.artist, track.genre, track.bpm)


def test_a_cache_that_cannot_be_written_is_an_error(source, tmp_path):
    with pytest.raises(OSError, match="gone"):
        tracks.prepare_track(
            source, separators.Separator("none"), str(tmp_path / "gone"), rules.Rules()
        )
