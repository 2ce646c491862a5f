"""The flags of `sample` for other programs, by the command itself on a small bundle."""

import json

import mido
import mutagen
import pytest
import soundfile

from tests.support import small_bundle
from tests.support.command import run_in_process


@pytest.fixture
def flags(tmp_path, monkeypatch):
    monkeypatch.setattr("jukejax.pages.report.write_sample_page", lambda folder: None)
    model = small_bundle.write(tmp_path / "tiny", lyrics="none", grid=True)
    grid = ("--bpm=240", "--key=F#m", "--bars=1", "--levels=2")
    return [f"--model={model}", f"--output={tmp_path / 'out'}", *grid]


def test_takes_are_added_to_a_finished_folder(flags, tmp_path):
    out = tmp_path / "out"
    run_in_process("sample", *flags)
    assert not list(out.glob("take_*"))
    meta = (out / "item_000/meta.json").read_text()
    settings = (out / "settings.json").read_bytes()
    run_in_process(
        "sample", *flags, "--format=flac", "--bits=24", "--lufs=-20", "--click", "--midi"
    )
    name = "take_000_240bpm_F#m_seed0"
    names = [f"{name}.flac", f"{name}.mid", f"{name}_click.wav"]
    assert sorted(path.name for path in out.glob("take_*")) == names
    assert soundfile.info(out / names[0]).subtype == "PCM_24"
    assert soundfile.info(out / names[0]).frames == soundfile.info(out / names[2]).frames == 44100
    tags = mutagen.File(out / names[0])
    assert tags["initialkey"] == ["F#m"]
    assert tags["model"] == ["tiny"]
    assert tags["comment"][0].startswith("Made by a machine")
    texts = [message.text for message in mido.MidiFile(out / names[1]) if message.type == "marker"]
    assert texts == ["Bar 1"]
    assert (out / "settings.json").read_bytes() == settings
    after = json.loads((out / "item_000/meta.json").read_text())
    assert after.pop("takes")[names[0]]["lufs"] == -20
    assert after == json.loads(meta)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--format=ogg", "--bits=24"], "--bits=24 is for wav and flac"),
        (["--format=aiff"], "aiff"),
        (["--lufs=14"], "--lufs=14 must be"),
        (["--stems"], "make spleeter-weights"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_sampling(
    flags, tmp_path, monkeypatch, more, message
):
    monkeypatch.delenv("JUKEJAX_SPLEETER_WEIGHTS", raising=False)
    monkeypatch.setattr("jukejax.preparation.separators.CACHED", tmp_path / "none")
    done = run_in_process("sample", *flags, *more, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_click_without_a_tempo_is_refused(flags, tmp_path):
    others = [flag for flag in flags if not flag.startswith(("--bpm", "--bars"))]
    done = run_in_process("sample", *others, "--seconds=1", "--click", code=2)
    assert "--click needs the tempo" in done.stderr
    assert not (tmp_path / "out").exists()
