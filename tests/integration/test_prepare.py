"""The command `prepare`: a folder of anything to shards."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC

from jukejax.data import corpus
from jukejax.preparation import house
from tests.support.command import ROOT, run_in_process, stop_when
from tests.support.preparation import (
    RATE,
    contents,
    find_track,
    music,
    prepare,
    prepare_in_new_process,
    read_notes,
)
from tests.support.sound_files import write_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good files in six formats, two of them labeled, and every kind of unusable file."""
    root = tmp_path_factory.mktemp("music")
    (root / "sub" / ".hidden").mkdir(parents=True)
    soundfile.write(root / "one.wav", music(seed=1), RATE)
    soundfile.write(root / "two.flac", music(seed=2), RATE)
    soundfile.write(root / "sub" / "three.ogg", music(seed=3), RATE)
    soundfile.write(root / "four.MP3", music(seed=4), RATE, format="MP3")
    write_file(root / "five.m4a", music(seed=5))
    soundfile.write(root / "mono22.wav", music(seed=6, rate=22050, channels=1), 22050)
    soundfile.write(root / "loud.wav", 4 * music(seed=7), RATE, subtype="FLOAT")
    left = music(seed=8, channels=1)
    soundfile.write(root / "antiphase.wav", np.concatenate([left, -left], 1), RATE)
    soundfile.write(root / "equal.wav", np.concatenate([left, left], 1) * 0.9 + 0.05, RATE)
    (root / "copy.wav").write_bytes((root / "one.wav").read_bytes())
    soundfile.write(root / "short.wav", music(1.0), RATE)
    soundfile.write(root / "silent.wav", np.zeros((RATE * 6, 2)), RATE)
    (root / "empty.mp3").touch()
    content = (root / "two.flac").read_bytes()
    (root / "cut.flac").write_bytes(content[: len(content) // 2])
    (root / "notes.mp3").write_text("this is a text file\n" * 50)
    (root / "cover.jpg").write_bytes(b"\xff\xd8")
    soundfile.write(root / "sub" / ".hidden" / "no.wav", music(), RATE)
    tags = FLAC(root / "two.flac")
    tags["artist"], tags["genre"] = "Tagged Artist", ["Deep House", "Dub"]
    tags.save()
    (root / "labels.csv").write_text(
        "file,artist,genre,lyrics\none.wav,Csv Artist,minimal,\nsub/three.ogg,Csv Artist,,\n"
        "gone.wav,Nobody,,\n"
    )
    return root


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared") / "data"
    metadata = f"--metadata={folder / 'labels.csv'}"
    flags = (f"--input={folder}", f"--output={output}", metadata, "--workers=2")
    return output, prepare_in_new_process(*flags)


def test_good_files_become_tracks_and_bad_ones_are_named_with_reasons(prepared):
    output, (out, _) = prepared
    files = {row["file"]: row for row in json.loads((output / "corpus.json").read_text())["files"]}
    reasons = {name: row["reason"] for name, row in files.items() if row["fate"] == "skipped"}
    assert reasons == {
        "cut.flac": reasons["cut.flac"],
        "empty.mp3": "empty file (0 bytes)",
        "notes.mp3": "not audio: a text file",
        "one.wav": "the same sound as copy.wav",
        "short.wav": "1.0 s long, and --min_seconds=5",
        "silent.wav": "silent (peak -180 dB)",
    }
    assert reasons["cut.flac"].startswith("truncated")
    for name, reason in reasons.items():
        assert f"{name}: {reason}" in out
    dataset = corpus.open_dataset(output)
    names = [t.name for split in corpus.SPLITS for t in dataset.tracks(split)]
    assert sorted(names) == sorted(set(files) - set(reasons))
    assert len(names) == 9
    assert len(dataset.tracks("heldout")) >= 1
    assert json.loads((output / "corpus.json").read_text())["ignored"] == {".csv": 1, ".jpg": 1}


def test_a_16_bit_file_at_44_1_khz_is_stored_exactly(prepared, folder):
    output, _ = prepared
    track, sound = find_track(output, "copy.wav")
    np.testing.assert_array_equal(sound, soundfile.read(folder / "copy.wav", dtype="float32")[0])
    assert (track.samples, track.channels) == (6 * RATE, 2)


def test_mono_is_resampled_and_stays_mono(prepared):
    track, sound = find_track(prepared[0], "mono22.wav")
    assert sound.shape == (6 * RATE, 1)
    assert track.channels == 1
    assert abs(np.sqrt(np.mean(sound**2)) - 0.4 / np.sqrt(2)) < 0.005


def test_loud_tracks_are_scaled_down_not_clipped(prepared, folder):
    _, sound = find_track(prepared[0], "loud.wav")
    loud = soundfile.read(folder / "loud.wav", dtype="float32")[0]
    np.testing.assert_allclose(sound, loud / np.abs(loud).max(), atol=4e-5)
    assert "turned down by" in read_notes(prepared[0], "loud.wav")[0]


def test_antiphase_stereo_keeps_its_mono_sum(prepared):
    _, sound = find_track(prepared[0], "antiphase.wav")
    assert np.sqrt(np.mean(sound.mean(axis=1) ** 2)) > 0.25
    assert "anti-phase" in read_notes(prepared[0], "antiphase.wav")[0]


def test_equal_channels_become_mono_and_dc_offsets_are_removed(prepared):
    track, sound = find_track(prepared[0], "equal.wav")
    assert track.channels == 1
    assert abs(sound.mean()) < 1e-4
    assert len(read_notes(prepared[0], "equal.wav")) == 2


def test_labels_come_from_the_csv_then_the_tags(prepared):
    output, (out, _) = prepared
    assert find_track(output, "sub/three.ogg")[0].artist == "Csv Artist"
    assert find_track(output, "two.flac")[0].artist == "Tagged Artist"
    assert find_track(output, "two.flac")[0].genre == ("Deep House", "Dub")
    assert find_track(output, "four.MP3")[0].artist == "unknown"
    vocabulary = corpus.open_dataset(output).vocabulary
    assert vocabulary.artists == ("unknown", "Csv Artist", "Tagged Artist")
    assert vocabulary.genres == ("unknown", "Deep House", "Dub")
    assert "--metadata names 1 file not in --input, such as gone.wav" in out


def test_the_bytes_do_not_depend_on_the_workers_or_the_cache(prepared, folder, tmp_path):
    metadata = f"--metadata={folder / 'labels.csv'}"
    flags = ("--separator=none", f"--input={folder}", f"--output={tmp_path}", metadata)
    run_in_process("prepare", *flags, "--workers=1")
    first = contents(tmp_path)
    assert first == contents(prepared[0])
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / ".work").glob("*.npy")}
    prepare(*flags, "--workers=3")
    assert contents(tmp_path) == first
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / ".work").glob("*.npy")}


@pytest.mark.parametrize(
    "stop", [*(pytest.param(stop, marks=pytest.mark.slow) for stop in (1, 5)), "writing"]
)
def test_a_killed_run_continues_to_the_same_bytes(prepared, folder, tmp_path, stop):
    flags = [f"--input={folder}", f"--output={tmp_path}", f"--metadata={folder / 'labels.csv'}"]
    flags.append("--separator=none")
    pattern = ".*.tfrecord.tmp" if stop == "writing" else ".work/*.npy"
    count = 1 if stop == "writing" else stop
    code = stop_when(
        "prepare", *flags, "--workers=2", ready=lambda: len(list(tmp_path.glob(pattern))) >= count
    )
    assert code == -signal.SIGKILL
    assert not (tmp_path / "dataset.json").exists()
    prepare(*flags)
    assert contents(tmp_path) == contents(prepared[0])
    assert not list((tmp_path / ".work").glob("*.tmp"))


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_run(folder, tmp_path):
    flags = ["--input=house", "--house_tracks=8", "--house_seconds=120", "--separator=repet"]
    command = [sys.executable, "-m", "jukejax.prepare", *flags, f"--output={tmp_path}"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def children():
        path = f"/proc/{process.pid}/task/{process.pid}/children"
        with open(path) as file:
            return [int(child) for child in file.read().split()]

    while len(children()) < 2:
        time.sleep(0.02)
    time.sleep(1.5)
    workers = children()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]


def test_a_new_file_leaves_the_splits_of_the_others(folder, tmp_path):
    root = tmp_path / "music"
    root.mkdir()
    for name in ("two.flac", "four.MP3", "five.m4a", "mono22.wav", "loud.wav", "equal.wav"):
        (root / name).write_bytes((folder / name).read_bytes())
    prepare(f"--input={root}", f"--output={tmp_path / 'd'}", "--heldout=0.4")
    first = corpus.open_dataset(tmp_path / "d")
    before = {split: {t.name for t in first.tracks(split)} for split in corpus.SPLITS}
    soundfile.write(root / "new.wav", music(seed=99), RATE)
    prepare(f"--input={root}", f"--output={tmp_path / 'd'}", "--heldout=0.4")
    second = corpus.open_dataset(tmp_path / "d")
    for split in corpus.SPLITS:
        assert {t.name for t in second.tracks(split)} - {"new.wav"} == before[split]


def test_outputs_may_share_a_cache_and_it_is_never_cleared(folder, tmp_path):
    cache = tmp_path / "cache"
    shared = [f"--input={folder}", f"--cache={cache}"]
    prepare(*shared, f"--output={tmp_path / 'a'}")
    (cache / "of_another_corpus.npy").touch()
    stamps = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    prepare(*shared, f"--output={tmp_path / 'b'}")
    assert stamps == {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not (tmp_path / "b" / ".work").exists()


@pytest.mark.slow
def test_shortened_and_reencoded_copies_share_a_group_and_a_split(tmp_path):
    mix = house.track(3, seconds=24.0).mix
    (tmp_path / "music").mkdir()
    soundfile.write(tmp_path / "music" / "a.wav", mix, RATE)
    soundfile.write(tmp_path / "music" / "b.ogg", mix[RATE * 4 :], RATE)
    soundfile.write(tmp_path / "music" / "c.wav", house.track(4, seconds=24.0).mix, RATE)
    out, _ = prepare(f"--input={tmp_path / 'music'}", f"--output={tmp_path / 'd'}", "--heldout=0.5")
    table = json.loads((tmp_path / "d" / "corpus.json").read_text())
    rows = {row["file"]: row for row in table["files"]}
    assert [rows[name]["group"] for name in sorted(rows)] == ["a.wav", "a.wav", "c.wav"]
    assert rows["a.wav"]["fate"] == rows["b.ogg"]["fate"] != rows["c.wav"]["fate"]
    (link,) = table["links"]
    assert (link["a"], link["b"]) == ("a.wav", "b.ogg")
    assert link["offset_seconds"] == pytest.approx(4.0, abs=0.1)
    assert "1 track with a recording of another track: in its split" in out


def test_the_house_corpus_is_prepared_with_its_labels_and_measures(tmp_path):
    flags = ["--input=house", "--house_tracks=2", "--house_seconds=8", f"--output={tmp_path}"]
    out, _ = prepare(*flags)
    assert "SI-SDR" in out
    table = json.loads((tmp_path / "corpus.json").read_text())
    for description in (table, json.loads((tmp_path / "dataset.json").read_text())):
        assert description["separator"] == "none"
        assert description["separation"] == {"method": "none"}
    for row in (table, *table["files"]):
        before, after = row["instrumental_si_sdr"].values()
        assert before == pytest.approx(after, abs=1e-3)
    dataset = corpus.open_dataset(tmp_path)
    assert [len(dataset.tracks(split)) for split in corpus.SPLITS] == [1, 1]
    for split in corpus.SPLITS:
        stored = dataset.tracks(split)[0]
        track = house.track(int(stored.name[-4:]), seconds=8.0)
        assert (stored.artist, stored.genre, stored.bpm) == (
            track.artist,
            (track.genre,),
            track.bpm,
        )
        np.testing.assert_allclose(dataset.read_track(split, 0), track.mix, atol=1 / 65536)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output=x"], "--input is needed"),
        (["--input={empty}", "--output={out}"], "no music in"),
        (["--input={bad}", "--output={out}"], "no readable audio in .*text file"),
        (["--input={empty}/nowhere", "--output={out}"], "is not a folder"),
        (["--input=house", "--output={out}", "--separator=x"], "--separator=x is unknown"),
        (["--input=house", "--output={out}", "--runner=x"], "should be one of <local|beam>"),
        (["--input=house", "--output={out}", "--beam_options=--x"], "is for --runner=beam"),
        (["--input=house", "--output={out}", "--heldout=1.5"], "--heldout=1.5"),
        (["--input=house", "--output={out}", "--workers=-1"], "--workers=-1 must be 1 or more"),
        (["--input=house", "--output={out}", "--loudness=loud"], "--loudness=loud must be a num"),
        (["--input=house", "--output=xx://out"], "--output=xx://out cannot be reached"),
        (["--input=house", "--output={out}", "--house_tracks=0"], "--house_tracks=0"),
        (["--input=house", "--output={out}", "--cache={bad}/a.mp3"], "a.mp3 is a file; give a fol"),
        (["--input={bad}", "--output={out}", "--metadata={bad}/a.mp3"], "must name file,artist"),
    ],
)
def test_bad_usage_prints_one_line_and_exits_with_2(tmp_path, flags, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mp3").write_text("only text\n")
    folders = {name: tmp_path / name for name in ("empty", "bad", "out")}
    out, err = prepare(*(flag.format(**folders) for flag in flags), code=2)
    lines = [line for line in err.splitlines() if not line.startswith("preparing")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert re.search(message, lines[0])
    assert not out
