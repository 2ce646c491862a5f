"""Takes: files of finished tracks, at the target of their loudness, with tags, resumable.

The priors and the codec are fakes, as in test_run.py.
"""

import json

import mutagen
import numpy as np
import pytest
import soundfile

from jukejax.analysis.loudness import measure_loudness, true_peak_db
from jukejax.data import audio
from jukejax.data.grid import Grid
from jukejax.data.sample_items import read_items
from jukejax.data.sound_files import FORMATS, FileFormat, Tags
from jukejax.evaluation.sound_sets import open_set
from jukejax.inference import generate
from jukejax.inference.codec import Codec
from jukejax.inference.loaded_model import Model
from jukejax.pages import report
from jukejax.preparation import separators, spleeter
from jukejax.sampling import take_stems, takes
from jukejax.sampling.folder import SampleFolder
from jukejax.sampling.takes import PEAK_DB, TakeSettings, make_tags, name_take, write_at_level
from tests.sampling.test_run import Killed, sample_fake_level
from tests.support import small_bundle
from tests.support.small_sample import read_files, sample

NAME = "take_000_124bpm_Am_seed3"
BAR = 4 * 60 / 124  # seconds


def make_music(seconds=4.0, level=0.1, seed=0):
    """Returns noise with beats, whose peaks are far above its loudness, float32 [time, 1]."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * 44100)) / 44100
    envelope = 0.2 + np.exp(-20 * (time % 0.5))
    return (level * envelope * random.standard_normal(len(time)) / 3).astype(np.float32)[:, None]


def decode_music(codec, codes, level, begin=0, end=None):
    """Depends on the codes, and is no sum of 16-bit steps."""
    samples = len(codes) * codec.config.hops[level]
    return make_music(samples / 44100, seed=int(np.sum(codes) % 97))[:samples]


@pytest.fixture
def model(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(generate, "sample_level", sample_fake_level)
    monkeypatch.setattr(Model, "load_prior", lambda self, level: (self.read_config(level), None))
    monkeypatch.setattr(report, "write_sample_page", lambda folder: None)
    monkeypatch.setattr(Codec, "decode", decode_music)
    return Model(small_bundle.write(tmp_path_factory.mktemp("bundle") / "small", lyrics="none"))


def sample_takes(model, output, settings, **values):
    values = {
        "bpm": 124.0,
        "key": "A minor",
        "seed": 3,
        "seconds": 2 * BAR,
        "is_exact": True,
    } | values
    sample(model, output, takes=settings, **values)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("level", [0.02, 0.5])
def test_loudness_and_peak_of_a_file_are_as_asked(tmp_path, name, level):
    path = tmp_path / f"take.{name}"
    settings = TakeSettings(FileFormat(name), lufs=-25.0)
    sound, measured = write_at_level(path, make_music(level=level), settings, Tags(), 44100)
    stored = audio.load_audio(path, repair=False).samples
    assert measure_loudness(stored) == pytest.approx(-25.0, abs=0.05)
    assert true_peak_db(stored) <= PEAK_DB
    assert measured["missed_lufs"] == 0
    assert measured["loudness_lufs"] == pytest.approx(-25.0, abs=0.05)
    gain = 10 ** (measured["gain_db"] / 20)
    np.testing.assert_allclose(sound, make_music(level=level) * gain, atol=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_peak_limits_the_gain_and_the_rest_is_reported(tmp_path, capsys, name):
    path = tmp_path / f"take.{name}"
    settings = TakeSettings(FileFormat(name), lufs=-6.0)
    _, measured = write_at_level(path, make_music(), settings, Tags(), 44100)
    stored = audio.load_audio(path, repair=False).samples
    assert -1.6 < true_peak_db(stored) <= PEAK_DB
    assert measured["true_peak_db"] <= PEAK_DB
    missed = -6.0 - measure_loudness(stored)
    assert missed > 1
    assert measured["missed_lufs"] == pytest.approx(missed, abs=0.01)
    line = capsys.readouterr().err
    assert f"take.{name}" in line
    assert f"{missed:.1f} LU under --lufs=-6" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("name", FORMATS)
def test_without_a_target_the_level_is_kept_unless_it_clips(tmp_path, name):
    path = tmp_path / f"take.{name}"
    settings = TakeSettings(FileFormat(name))
    _, measured = write_at_level(path, make_music(), settings, Tags(), 44100)
    assert measured["gain_db"] == 0
    write_at_level(path, make_music(level=9.0), settings, Tags(), 44100)
    stored = audio.load_audio(path, repair=False).samples
    assert 0.9 < np.abs(stored).max() <= 1


def test_silence_and_short_sounds_have_no_loudness(tmp_path, capsys):
    settings = TakeSettings(FileFormat(), lufs=-14.0)
    for sound in (np.zeros((44100, 1), np.float32), make_music(0.2)):
        _, measured = write_at_level(tmp_path / "a.wav", sound, settings, Tags(), 44100)
        assert measured["gain_db"] == 0
        assert measured["missed_lufs"] is None
    assert capsys.readouterr().err.count("too short or too soft") == 2


def test_loudness_of_a_model_at_another_rate(tmp_path):
    sound = audio.load_audio  # the file is measured at 44.1 kHz, whatever its rate
    settings = TakeSettings(FileFormat("flac"), lufs=-25.0)
    write_at_level(tmp_path / "a.flac", make_music(8.0, 0.05), settings, Tags(), 22050)
    assert soundfile.info(tmp_path / "a.flac").samplerate == 22050
    assert measure_loudness(sound(tmp_path / "a.flac").samples) == pytest.approx(-25, abs=0.05)


def test_take_of_24_bits_holds_more_than_the_wav_of_its_level(model, tmp_path):
    settings = TakeSettings(FileFormat("flac", 24))
    sample_takes(model, tmp_path, settings, levels=(2, 1, 0))
    wav, _ = soundfile.read(tmp_path / "item_000" / "level_0.wav", dtype="int32")
    take, rate = soundfile.read(tmp_path / f"{NAME}.flac", dtype="int32")
    assert (rate, len(take)) == (44100, round(2 * BAR * 44100))
    assert (take & 0xFFFF).any()
    np.testing.assert_allclose(take / 2**31, wav / 2**31, atol=2**-16 * 1.01)


def test_takes_are_no_part_of_the_sample_folder(model, tmp_path):
    """Without takes, and for all other files with them, the bytes are the same."""
    sample_takes(model, tmp_path / "without", None)
    sample_takes(model, tmp_path / "with", TakeSettings(FileFormat("ogg"), lufs=-20))
    without, with_takes = read_files(tmp_path / "without"), read_files(tmp_path / "with")
    meta = json.loads(with_takes.pop("item_000/meta.json"))
    assert set(with_takes) - set(without) == {f"{NAME}.ogg"}
    (take,) = meta.pop("takes").values()
    assert take["files"] == [f"{NAME}.ogg"]
    assert (take["format"], take["lufs"]) == ("ogg", -20)
    assert meta == json.loads(without.pop("item_000/meta.json"))
    assert all(with_takes[name] == content for name, content in without.items())


def test_readers_of_a_sample_folder_see_its_tracks_once(model, tmp_path):
    sample_takes(model, tmp_path, TakeSettings(FileFormat("mp3"), midi=True), items=range(2))
    items = read_items(tmp_path)
    assert [sorted(item.wavs) for item in items] == [[0, 1, 2]] * 2
    assert [path.suffix for path in items[1].takes] == [".mp3", ".mid"]
    assert [entry.name for entry in open_set(tmp_path, "input").entries] == ["item_000", "item_001"]


def test_finished_folder_gets_takes_of_further_formats(model, tmp_path, monkeypatch):
    sample_takes(model, tmp_path, TakeSettings(FileFormat("wav")))
    first = read_files(tmp_path)
    sample_takes(model, tmp_path, TakeSettings(FileFormat("flac"), click=True))
    assert set(read_files(tmp_path)) - set(first) == {f"{NAME}.flac", f"{NAME}_click.wav"}
    meta = SampleFolder(tmp_path, range(1)).read_meta(0)
    assert list(meta["takes"]) == [f"{NAME}.wav", f"{NAME}.flac"]
    monkeypatch.setattr(Codec, "decode", None)  # nothing is left to do
    sample_takes(model, tmp_path, TakeSettings(FileFormat("flac"), click=True))
    (tmp_path / f"{NAME}_click.wav").unlink()
    monkeypatch.setattr(Codec, "decode", decode_music)
    sample_takes(model, tmp_path, TakeSettings(FileFormat("flac"), click=True))
    assert (tmp_path / f"{NAME}_click.wav").exists()


def test_run_killed_while_it_writes_takes_ends_with_the_same_bytes(model, tmp_path, monkeypatch):
    settings = TakeSettings(FileFormat("ogg"), lufs=-20, click=True, midi=True)
    sample_takes(model, tmp_path / "whole", settings, items=range(2))
    writes = 0

    def kill_or_write(*args):
        nonlocal writes
        writes += 1
        if writes == 4:  # the click of the second item
            (tmp_path / "killed" / f".{NAME}.ogg.tmp").write_bytes(b"half")
            raise Killed
        return write_sound(*args)

    write_sound = takes.write_sound
    monkeypatch.setattr(takes, "write_sound", kill_or_write)
    with pytest.raises(Killed):
        sample_takes(model, tmp_path / "killed", settings, items=range(2))
    assert not (tmp_path / "killed" / "take_001_124bpm_Am_seed3.mid").exists()
    sample_takes(model, tmp_path / "killed", settings, items=range(2))
    assert read_files(tmp_path / "killed") == read_files(tmp_path / "whole")


def test_click_and_midi_need_a_tempo_and_stems_need_weights(monkeypatch, tmp_path):
    for name in ("click", "midi"):
        with pytest.raises(ValueError, match=f"--{name} needs the tempo"):
            TakeSettings(FileFormat(), **{name: True}).check(Grid(None, 0.0, "A minor"))
        TakeSettings(FileFormat(), **{name: True}).check(Grid(124.0, 0.0))
    monkeypatch.delenv(separators.VARIABLE, raising=False)
    monkeypatch.setattr(separators, "CACHED", tmp_path / "none")
    with pytest.raises(ValueError, match="make spleeter-weights"):
        TakeSettings(FileFormat(), stems=True).check(Grid())
    with pytest.raises(ValueError, match="--lufs=3"):
        TakeSettings(FileFormat(), lufs=3.0)


def separate_fake(weights, sha256):
    del weights, sha256
    return lambda mix, stems: {stems[0]: mix * 3, stems[1]: mix * -2}


def test_stems_sum_to_the_take_and_are_not_clipped(tmp_path, monkeypatch):
    monkeypatch.setattr(take_stems, "find_separator", lambda: separators.Separator("spleeter"))
    monkeypatch.setattr(spleeter, "load_spleeter", separate_fake)
    for level, gain in ((0.05, 1.0), (0.5, None)):
        sound = make_music(level=level)
        paths = take_stems.write_stems(
            tmp_path / "t.wav", sound, FileFormat(bits=24), Tags(), 44100
        )
        assert [path.name for path in paths] == ["t_stem_vocals.wav", "t_stem_accompaniment.wav"]
        stems = [soundfile.read(path, always_2d=True)[0] for path in paths]
        gain = gain or 1 / (3 * np.abs(sound).max())
        np.testing.assert_allclose(sum(stems), sound * gain, atol=1e-6)
        assert max(np.abs(stem).max() for stem in stems) <= 1


def test_stems_of_another_level_are_removed_and_other_files_stay(model, tmp_path, monkeypatch):
    monkeypatch.setattr(take_stems, "find_separator", lambda: separators.Separator("spleeter"))
    monkeypatch.setattr(spleeter, "load_spleeter", separate_fake)
    stems = {f"{NAME}_stem_{name}.wav" for name in take_stems.STEMS}

    def list_files():
        return {path.name for path in tmp_path.glob("take_*")}

    def read_take():
        return SampleFolder(tmp_path, range(1)).read_meta(0)["takes"][f"{NAME}.wav"]

    sample_takes(model, tmp_path, TakeSettings(FileFormat(), lufs=-25, stems=True, click=True))
    assert stems < list_files()
    sample_takes(model, tmp_path, TakeSettings(FileFormat(), lufs=-25, midi=True))
    assert list_files() == {f"{NAME}.wav", f"{NAME}.mid", f"{NAME}_click.wav", *stems}
    assert set(read_take()["files"]) == list_files()
    assert read_take()["stems"]
    sample_takes(model, tmp_path, TakeSettings(FileFormat(), lufs=-30))
    assert list_files() == {f"{NAME}.wav", f"{NAME}.mid", f"{NAME}_click.wav"}
    assert set(read_take()["files"]) == list_files()
    assert not read_take()["stems"]
    monkeypatch.setattr(Codec, "decode", None)  # nothing is left to do
    sample_takes(model, tmp_path, TakeSettings(FileFormat(), lufs=-30))


META = {"item": 12, "seed": 7, "mode": "primed", "model": "abc", "artist": "anna", "genre": None}


def test_names_sort_by_the_number_of_the_take():
    grid = {"bpm": 123.456, "first_downbeat": 0.0, "key": "F# minor"}
    assert name_take(META | {"grid": grid}, 12) == "take_012_123.46bpm_F#m_seed7"
    assert name_take(META, 3) == "take_003_seed7"


def test_tags_say_that_a_machine_made_it_and_do_not_name_an_artist_as_the_player(tmp_path):
    tags = make_tags(META, Grid(124.0, 0.0, "A minor"), "house", 12)
    assert tags.title == "Take 12 · 124 BPM · A minor"
    assert tags.artist == "jukejax"
    assert tags.comment.startswith("Made by a machine: jukejax ")
    assert tags.comment.endswith("model house, mode primed; seed 7, item 12; label artist: anna")
    assert tags.extra["model_hash"] == "abc"
    write_at_level(tmp_path / "a.flac", make_music(), TakeSettings(FileFormat("flac")), tags, 44100)
    assert mutagen.File(tmp_path / "a.flac")["initialkey"] == ["Am"]
