"""Preparation of single tracks and its cache."""

import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from jukejax.analysis import fidelity
from jukejax.analysis.fingerprint import Landmarks
from jukejax.data import audio
from jukejax.preparation import house, rules, separators, tracks
from jukejax.preparation.job import Job
from jukejax.preparation.prepared_track import Source
from tests.support.command import ROOT
from tests.support.house_tracks import house_track
from tests.support.preparation import RATE, music
from tests.support.sound_files import write_file


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("music") / "a.wav"
    soundfile.write(path, music(seed=1), RATE)
    return Source("a.wav", path=str(path))


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
    # A track whose chords and hook repeat enough for REPET: of many, it removes parts of these.
    track = house_track(3, seconds=45.0)
    source = Source("house_0003", index=3, seconds=45.0)
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
    assert (prepared.artist, prepared.genre) == (track.artist, track.genre)
    grid = prepared.grid.grid
    assert (grid.bpm, grid.key) == (track.bpm, track.key)
    assert grid.first_downbeat == -prepared.first_sample
    names, starts = zip(*track.sections, strict=True)
    assert grid.sections == tuple(
        (name, start * 44100 - prepared.first_sample)
        for name, start in zip(names, starts, strict=True)
    )


def test_a_house_track_without_vocals_is_its_instrumental(tmp_path, monkeypatch):
    monkeypatch.setattr(house, "track", house_track)
    source = Source("house_0001", index=1, seconds=16.0, vocals=False)
    prepared = tracks.prepare_track(
        source, separators.Separator("none"), str(tmp_path), rules.Rules()
    )
    instrumental = house_track(1).instrumental[prepared.first_sample :][: prepared.samples]
    np.testing.assert_allclose(np.load(prepared.array) / 32768, instrumental, atol=2e-5)
    assert prepared.sdr is None  # there is nothing to separate
    assert prepared.grid.grid.bpm == house_track(1).bpm


def test_a_cache_that_cannot_be_written_is_an_error(source, tmp_path):
    with pytest.raises(OSError, match="gone"):
        tracks.prepare_track(
            source, separators.Separator("none"), str(tmp_path / "gone"), rules.Rules()
        )


def prepare_file(path, cache, separator=None, **settings):
    return tracks.prepare_track(
        Source(path.name, path=str(path)),
        separator or separators.Separator("none"),
        str(cache),
        rules.Rules(**settings),
    )


def test_new_tags_change_the_labels_and_not_the_cache(source, tmp_path):
    from mutagen.flac import FLAC

    path = tmp_path / "a.flac"
    soundfile.write(path, music(seed=1), RATE)
    calls = []

    class Count:
        method, hash = "count", ""

        def separate(self, mix):
            calls.append(len(mix))
            yield mix[:]

    before = prepare_file(path, tmp_path, Count())
    tags = FLAC(path)
    tags["artist"], tags["genre"] = ["Larry Heard"], ["House"]
    tags.save()
    after = prepare_file(path, tmp_path, Count())
    assert (after.artist, after.genre) == ("Larry Heard", "House")
    assert (after.content, after.array) == (before.content, before.array)
    assert len(calls) == 1
    assert prepare_file(path, tmp_path, Count()) == after


def test_a_second_run_does_not_decode(source, tmp_path, monkeypatch):
    from jukejax.data import decoding

    first = tracks.prepare_track(source, separators.Separator("none"), str(tmp_path), rules.Rules())
    monkeypatch.setattr(decoding, "open_sound", None)
    assert first == tracks.prepare_track(
        source, separators.Separator("none"), str(tmp_path), rules.Rules()
    )


def test_a_file_beyond_the_limit_is_not_decoded(source, tmp_path, monkeypatch):
    from jukejax.data import decoding

    monkeypatch.setattr(decoding.SoundFile, "blocks", None)
    prepared = tracks.prepare_track(
        source, separators.Separator("none"), str(tmp_path), rules.Rules(0.5, max_seconds=2.0)
    )
    assert prepared.reason == "6.0 s long, and --max_seconds=2"
    assert prepared.samples == 6 * RATE


def test_a_file_that_declares_no_length_is_decoded_up_to_the_limit(tmp_path):
    path = tmp_path / "a.aac"
    write_file(path, music(20.0))
    prepared = prepare_file(path, tmp_path, min_seconds=0.5, max_seconds=2.0)
    assert re.fullmatch(r"[34]\.\d s long, and --max_seconds=2", prepared.reason)


def test_too_little_memory_is_the_reason_of_one_file(source, tmp_path):
    class Large:
        method, hash = "large", ""

        def separate(self, mix):
            raise MemoryError

    prepared = tracks.prepare_track(source, Large(), str(tmp_path), rules.Rules())
    assert prepared.reason == "needs more memory than this machine has free"


@pytest.mark.parametrize("method", ["none", "repet"])
def test_the_result_does_not_depend_on_the_size_of_blocks(tmp_path, monkeypatch, method):
    path = tmp_path / "a.wav"
    soundfile.write(path, 2 * music(9.0, rate=48000) + 0.05, 48000, "FLOAT")
    separator = separators.Separator(method)
    results = []
    for name, block in (("large", 1 << 20), ("small", 50_001)):
        monkeypatch.setattr(audio.iterate_blocks, "__defaults__", (block,))
        monkeypatch.setattr(rules, "BLOCK", block)
        monkeypatch.setattr(rules, "_BLOCK_STEPS", max(1, block // 44100))
        (tmp_path / name).mkdir()
        prepared = prepare_file(path, tmp_path / name, separator, loudness=-20.0)
        marks = Landmarks.load(prepared.fingerprint)
        results.append((np.load(prepared.array), marks.hashes, prepared.notes))
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
    assert [note.split(" ")[0] for note in results[0][2]] == ["DC"]


@pytest.mark.slow
def test_two_hours_take_less_than_a_gigabyte_and_a_half(tmp_path):
    path = tmp_path / "long.flac"
    block = music(30.0, seed=3)
    with soundfile.SoundFile(path, "w", RATE, 2, format="FLAC") as file:
        for _ in range(239):
            file.write(block)
    program = (
        "import sys\n"
        "from jukejax.preparation import rules, separators, tracks\n"
        "from jukejax.preparation.prepared_track import Source\n"
        "from jukejax.runtime import memory\n"
        "source = Source('long.flac', path=sys.argv[1])\n"
        "separator = separators.Separator('none')\n"
        "prepared = tracks.prepare_track(source, separator, sys.argv[2], rules.Rules())\n"
        "assert not prepared.reason, prepared.reason\n"
        "print(memory.process_peak_bytes() / 1e9)\n"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert float(done.stdout) < 1.5
