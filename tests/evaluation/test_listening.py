"""Listening tests: which sounds are in them, that they are equal but for the music, and blind."""

import json
import re

import numpy as np
import pytest
import soundfile

from jukejax.analysis.loudness import measure_loudness, true_peak_db
from jukejax.data import audio
from jukejax.evaluation.listening import PEAK_DB, Settings, make_test
from jukejax.evaluation.sound_sets import open_set
from tests.support.command import run_in_process
from tests.support.pages import EVIL, check_page

HOSTILE = "<img src=x onerror=alert(1)> & \"quoted\" 'name'"


def write_tracks(folder, names, *, seconds=2.0, channels=1, level=0.05):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(names))
    for i, name in enumerate(names):
        sound = random.standard_normal((round(seconds * 44100), channels)) * level * (1 + i)
        audio.write_wav(folder / f"{name}.wav", sound.clip(-1, 1))
    return open_set(folder, "input")


def make(tmp_path, sets, **values):
    settings = Settings(**{"mode": "ab", "question": EVIL, "trials": 3, "seconds": 1.5} | values)
    make_test(sets, settings, tmp_path / "out")
    return json.loads((tmp_path / "out/key.json").read_text())


@pytest.fixture
def sets(tmp_path):
    """Two sets of other names, channels, lengths and levels."""
    return [
        write_tracks(tmp_path / "ours", [HOSTILE, "bell", "chord", "drum"], level=0.02),
        write_tracks(tmp_path / "theirs", ["x", "y", "z"], seconds=1.2, channels=2, level=0.1),
    ]


def test_sounds_differ_in_their_music_only(tmp_path, sets):
    key = make(tmp_path, sets)
    sounds = {}
    for path in (tmp_path / "out/test/sounds").iterdir():
        sounds[path.stem], rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert rate == 44100
    assert sounds.keys() == key["clips"].keys()
    assert {sound.shape for sound in sounds.values()} == {(round(1.2 * 44100), 1)}
    for sound in sounds.values():
        assert measure_loudness(sound) == pytest.approx(key["loudness_lufs"], abs=0.05)
        assert true_peak_db(sound) < PEAK_DB + 0.01
    assert key["loudness_lufs"] == -20


def test_one_loud_peak_makes_all_sounds_softer(tmp_path):
    sets = [write_tracks(tmp_path / name, "abc") for name in ("first", "second")]
    peaky = np.zeros((44100 * 2, 1), np.float32)
    peaky[::4410] = 1.0
    audio.write_wav(tmp_path / "first" / "a.wav", peaky)
    key = make(tmp_path, sets)
    assert key["loudness_lufs"] < -22
    for path in (tmp_path / "out/test/sounds").iterdir():
        sound, _ = soundfile.read(path, dtype="float32", always_2d=True)
        assert measure_loudness(sound) == pytest.approx(key["loudness_lufs"], abs=0.05)


def test_pairs_have_a_sound_of_each_set_on_both_sides(tmp_path):
    sets = [write_tracks(tmp_path / name, [f"t{i}" for i in range(8)]) for name in ("a", "b")]
    key = make(tmp_path, sets, trials=20)
    clips = key["clips"]
    assert len(key["trials"]) == 8
    first = [clips[a]["set"] for a, _ in key["trials"]]
    assert sorted(first) == [0] * 4 + [1] * 4
    assert first not in ([0, 1] * 4, [1, 0] * 4)
    for a, b in key["trials"]:
        assert clips[a]["name"] == clips[b]["name"]  # equal names are paired
        assert clips[a]["set"] != clips[b]["set"]


def test_ratings_are_of_sounds_of_both_sets_in_a_shuffled_order(tmp_path, sets):
    key = make(tmp_path, sets, mode="rating", trials=10)
    order = [key["clips"][clip]["set"] for (clip,) in key["trials"]]
    assert sorted(order) == [0] * 4 + [1] * 3
    assert order not in (sorted(order), sorted(order, reverse=True))
    assert len(make(tmp_path / "one", sets[:1], mode="rating")["trials"]) == 3


@pytest.mark.parametrize("mode", ["ab", "rating"])
def test_page_does_not_tell_and_does_not_run_foreign_markup(tmp_path, sets, mode):
    make(tmp_path, sets, mode=mode, question=EVIL + HOSTILE)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["test"]
    text, links = check_page(tmp_path / "out/test/index.html")
    assert HOSTILE not in text
    assert "onerror=alert" not in re.sub(r"<legend>.*?</legend>", "", text)
    for word in ("bell", "chord", "drum", "ours", "theirs", "seed"):
        assert word not in text
    assert len(links.sounds) == (2 if mode == "ab" else 1)
    for path in (tmp_path / "out/test/sounds").iterdir():
        assert re.fullmatch(r"[0-9a-f]{12}\.flac", path.name)
        assert b"bell" not in path.read_bytes()


def test_seed_determines_the_test_and_another_one_does_not_replace_it(tmp_path, sets):
    key = make(tmp_path, sets)
    files = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert make(tmp_path, sets) == key
    assert all(path.read_bytes() == content for path, content in files.items())
    with pytest.raises(ValueError, match="another test"):
        make(tmp_path, sets, seed=1)
    assert make(tmp_path / "other", sets, seed=1)["trials"] != key["trials"]


def test_silent_and_short_sounds_are_left_out(tmp_path, capsys):
    sets = [write_tracks(tmp_path / name, "abc") for name in ("first", "second")]
    audio.write_wav(tmp_path / "first/a.wav", np.zeros((88200, 1), np.float32))
    audio.write_wav(tmp_path / "second/b.wav", np.full((9000, 1), 0.1, np.float32))
    key = make(tmp_path, sets)
    assert {clip["name"] for clip in key["clips"].values()} == {"c.wav"}
    assert "a.wav is silent" in (errors := capsys.readouterr().err)
    assert "b.wav is shorter than 1 s" in errors
    for name in "abc":
        audio.write_wav(tmp_path / f"first/{name}.wav", np.zeros((88200, 1), np.float32))
    with pytest.raises(ValueError, match="no sound is left"):
        make(tmp_path / "none", sets)


@pytest.mark.parametrize(
    "values", [{"mode": "abx"}, {"trials": 0}, {"seconds": 0.5}, {"lufs": 3.0}, {"seed": -1}]
)
def test_settings_out_of_range_name_their_flag(values):
    with pytest.raises(ValueError, match=f"--{next(iter(values))}="):
        Settings(**{"mode": "ab", "question": ""} | values)


def test_command_makes_a_test_and_counts_its_answers(tmp_path, sets):
    del sets
    out = tmp_path / "out"
    folders = f"--input={tmp_path / 'ours'}", f"--reference={tmp_path / 'theirs'}"
    done = run_in_process("listen", *folders, f"--output={out}", "--seconds=1")
    assert done.stdout.startswith("3 questions: file://")
    key = json.loads((out / "key.json").read_text())
    ours = [
        {"trial": number, "choice": next(c for c in trial if key["clips"][c]["set"] == 0)}
        for number, trial in enumerate(key["trials"])
    ]
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"test": key["test"], "listener": "Anna", "answers": ours}))
    done = run_in_process("listen", f"--output={out}", f"--answers={path}")
    assert f"{tmp_path / 'ours'} is preferred to {tmp_path / 'theirs'}: 3 of 3" in done.stdout
    done = run_in_process("listen", f"--output={tmp_path / 'no'}", f"--answers={path}", code=2)
    assert "key.json is missing" in done.stderr
    done = run_in_process("listen", folders[0], f"--output={out}", code=2)
    assert "--input and --reference are needed" in done.stderr
