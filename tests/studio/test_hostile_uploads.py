"""What a hostile or careless user may upload: refused by one line, with nothing written."""

import math
import os
import stat

import numpy as np
import pytest
import soundfile

from jukejax.studio import recordings, tuning
from tests.support.studio import refuse


def write_sound(path, seconds=2.0):
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, 0.1 * np.ones(round(seconds * 8000), np.float32), 8000, format="WAV")
    return path


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.wav", b"", "empty"),
        ("a.wav", b"hello", "not audio"),
        ("a.wav", b"RIFF\xff\xff\xff\xffWAVE", "a.wav"),
        ("a.mp3", b"\xff\xfb" + bytes(100), "a.mp3"),
        ("a.html", b"<script>alert(1)</script>", "no sound file"),
        ("a.py", b"import os", "no sound file"),
        ("a", b"RIFF", "without an ending"),
        ("a.m3u8", b"#EXTM3U\nfile:///etc/passwd", "no sound file"),
        ("a.wav", b"#EXTM3U\nfile:///etc/passwd\n", "not audio"),
        ("a.flac", b"fLaC" + bytes(1000), "a.flac"),
        ("a.zip", b"PK\x03\x04", "no sound file"),
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_files_that_are_no_sound(studio, project, tmp_path, name, content, match):
    sent = tmp_path / "sent" / name
    sent.parent.mkdir()
    sent.write_bytes(content)
    refuse(studio.add_recording, project, sent, match=match)


@pytest.mark.usefixtures("unchanged")
def test_a_truncated_recording(studio, project, tmp_path):
    sent = write_sound(tmp_path / "sent" / "a.wav")
    sent.write_bytes(sent.read_bytes()[:9000])
    refuse(studio.add_recording, project, sent, match="truncated")


@pytest.mark.usefixtures("unchanged")
def test_recordings_that_are_too_large_too_long_or_too_short(
    studio, project, tmp_path, monkeypatch
):
    sent = write_sound(tmp_path / "sent" / "a.wav")
    with monkeypatch.context() as limits:
        limits.setattr(recordings, "MAX_BYTES", 1000)
        refuse(studio.add_recording, project, sent, match="limit")
    with monkeypatch.context() as limits:
        limits.setattr(recordings, "MAX_SECONDS", 1.0)
        refuse(studio.add_recording, project, sent, match="longer")
    refuse(
        studio.add_recording, project, write_sound(tmp_path / "sent" / "b.wav", 0.2), match="least"
    )


@pytest.mark.usefixtures("unchanged")
def test_pipes_folders_and_missing_files(studio, project, tmp_path):
    (tmp_path / "sent" / "folder.wav").mkdir(parents=True)
    os.mkfifo(tmp_path / "sent" / "pipe.wav")
    for name in ("folder.wav", "pipe.wav", "missing.wav"):
        refuse(studio.add_recording, project, tmp_path / "sent" / name)


def test_the_name_of_a_recording_is_text(studio, project, tmp_path):
    sent = write_sound(tmp_path / "sent" / "<b onclick=alert(1)>..%2f.wav")
    recording = studio.add_recording(project, sent)
    path = project.recording_path(recording)
    assert path == project.folder / "recordings" / f"{recording}.wav"
    assert path.read_bytes() == sent.read_bytes()
    assert not stat.S_IMODE(path.stat().st_mode) & 0o111
    refuse(project.recording_path, "../project")


def test_a_corpus_is_made_of_sounds_only(studio, project, model, tmp_path):
    good = write_sound(tmp_path / "sent" / "a.wav")
    (tmp_path / "sent" / "b.wav").write_bytes(b"no sound")
    for sent in ([], [good, tmp_path / "sent" / "b.wav"], [good] * 201):
        refuse(tuning.prepare_recordings, project, studio.queue, sent, "mine", model)
    assert project.read().entries == {}
    refuse(tuning.tune_model, project, studio.queue, "c0001", "x", 25, model)
    for tracks, seconds in ((0, 20), (1000, 20), (8, 1e9), (8, math.nan), ("8", 20)):
        refuse(tuning.prepare_house, project, studio.queue, tracks, seconds, model)
    assert studio.queue.list_jobs() == []
