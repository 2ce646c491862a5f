"""`embed` from the command line: files, shapes, and resuming."""

import json

import numpy as np
import pytest

from jukejax.data import audio
from jukejax.inference.extractor import ActivationExtractor
from jukejax.inference.loaded_model import Model
from jukejax.preparation import house
from tests.support import small_bundle
from tests.support.command import run_in_process

WINDOW = 64 * 128 / 44_100  # seconds


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embed")
    small_bundle.write(folder / "model", "none")
    (folder / "music/a").mkdir(parents=True)
    for number, name in enumerate(("a/one.wav", "a_one.wav")):
        audio.write_wav(folder / "music" / name, house.track(number, seconds=4.0).mix[:40_000])
    return folder


def run_embed(place, output, *more, code=0):
    flags = [f"--model={place / 'model'}", f"--input={place / 'music'}", f"--output={output}"]
    return run_in_process("embed", *flags, *more, code=code)


def test_a_second_run_computes_only_missing_files(place, tmp_path):
    done = run_embed(place, tmp_path, "--layers=0,last", "--batch_size=2")
    assert "2 tracks, layers 0, 3 of level 2, mean of windows of 0.2 s" in done.stdout
    files = json.loads((tmp_path / "tracks.json").read_text())
    assert set(files) == {"a/one.wav", "a_one.wav"}
    codes, windows = 40_000 // 128, 5
    for file in files.values():
        with np.load(tmp_path / file) as found:
            assert set(found) == {"layer_0", "layer_3", "begin_seconds", "end_seconds"}
            assert found["layer_3"].shape == (windows, 16)
            assert found["layer_3"].dtype == np.float32
            np.testing.assert_allclose(found["begin_seconds"], np.arange(windows) * WINDOW)
            assert found["end_seconds"][-1] == pytest.approx(codes * 128 / 44_100)
    extractor = ActivationExtractor(Model(place / "model"))
    model = Model(place / "model")
    sound = audio.load_audio(place / "music/a_one.wav").samples
    activations = extractor.extract_activations(
        model.codec.encode(sound), layers=[0, 3], pooling="mean"
    )
    with np.load(tmp_path / files["a_one.wav"]) as found:
        np.testing.assert_allclose(found["layer_3"], activations.values[:, 1], rtol=1e-4, atol=1e-5)
    assert len(set(files.values())) == 2
    first, second = (tmp_path / file for file in files.values())
    written_at, content = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    run_embed(place, tmp_path, "--layers=0,last", "--batch_size=2")
    assert first.stat().st_mtime_ns == written_at
    assert second.read_bytes() == content
    refused = run_embed(place, tmp_path, "--layers=1", code=2)
    assert "was begun with layers=[0, 3], not [1]" in refused.stderr


def test_a_damaged_file_does_not_stop_the_others(place, tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    (music / "a.wav").write_bytes(b"RIFF of nothing at all")
    audio.write_wav(music / "b.wav", house.track(0, seconds=4.0).mix[:40_000])
    done = run_embed(place, tmp_path / "out", f"--input={music}", code=2)
    assert "1 of 2 tracks could not be embedded, the others are done" in done.stderr
    assert "a.wav: " in done.stderr.splitlines()[-1]
    assert set(json.loads((tmp_path / "out/tracks.json").read_text())) == {"b.wav"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--layers=first"], "--layers='first' is no number"),
        (["--level=5"], "level 5 has no prior"),
        (["--hop_fraction=0"], "--hop_fraction=0.0 must be above 0"),
    ],
)
def test_bad_flags_are_reported_in_one_line(place, tmp_path, flags, message):
    done = run_embed(place, tmp_path, *flags, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
