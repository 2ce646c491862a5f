"""Tempo, key, bars, loops and guidance of `sample`."""

import json

import numpy as np
import pytest
import soundfile

from jukejax.data import audio
from jukejax.preparation import house
from tests.support import small_bundle
from tests.support.command import call_in_process, run_in_process

RATE, BPM = 44100, 400.0  # a short bar, 0.6 s
BAR = 240 * RATE / BPM


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("grid") / "m", lyrics="none", grid=True)


def sample(model, output, *flags, levels="2"):
    run_in_process("sample", f"--model={model}", f"--output={output}", f"--levels={levels}", *flags)
    item = output / "item_000"
    with np.load(item / "codes.npz") as codes:
        return dict(codes), json.loads((item / "meta.json").read_text())


def test_tempo_and_key_change_the_codes_and_are_recorded(model, tmp_path):
    bars = ("--bars=2", f"--bpm={BPM}")
    first, meta = sample(model, tmp_path / "a", *bars, "--key=Am")
    other, _ = sample(model, tmp_path / "b", *bars, "--key=F# major")
    assert meta["grid"] == {"bpm": BPM, "first_downbeat": 0.0, "key": "A minor"}
    assert (first["level_2"] != other["level_2"]).any()


def test_guidance_of_1_is_no_guidance_and_3_is(model, tmp_path):
    flags = ("--seconds=1", f"--bpm={BPM}", "--artist=anna")
    plain, _ = sample(model, tmp_path / "a", *flags)
    one, _ = sample(model, tmp_path / "b", *flags, "--guidance=1")
    three, meta = sample(model, tmp_path / "c", *flags, "--guidance=3")
    np.testing.assert_array_equal(plain["level_2"], one["level_2"])
    assert (plain["level_2"] != three["level_2"]).any()
    assert meta["guidance"] == {"level_2": 3.0}


def test_guidance_without_labels_to_follow_changes_nothing(model, tmp_path):
    plain, _ = sample(model, tmp_path / "a", "--seconds=1")
    guided, _ = sample(model, tmp_path / "b", "--seconds=1", "--guidance=3")
    assert (plain["level_2"] != guided["level_2"]).mean() < 0.02  # rounding


def test_guidance_of_some_labels_leaves_the_others_as_trained(model, tmp_path):
    flags = ("--seconds=1", f"--bpm={BPM}", "--artist=anna")
    plain, _ = sample(model, tmp_path / "a", *flags)
    of_key = ("--guidance=3", "--guided_labels=key")
    without_key, _ = sample(model, tmp_path / "b", *flags, *of_key)
    assert (plain["level_2"] != without_key["level_2"]).mean() < 0.02  # rounding
    keyed, _ = sample(model, tmp_path / "c", *flags, "--key=Am")
    guided, meta = sample(model, tmp_path / "d", *flags, "--key=Am", *of_key)
    by_all, _ = sample(model, tmp_path / "e", *flags, "--key=Am", "--guidance=3")
    assert (guided["level_2"] != keyed["level_2"]).any()
    assert (guided["level_2"] != by_all["level_2"]).any()
    assert meta["guided_labels"] == ["key"]


def test_a_loop_has_its_length_and_a_last_bar_of_its_own(model, tmp_path):
    flags = ("--bars=3", f"--bpm={BPM}", "--levels=2,1")
    open_end, _ = sample(model, tmp_path / "a", *flags, levels="2,1")
    loop, meta = sample(model, tmp_path / "b", *flags, "--loop", levels="2,1")
    assert meta["closed_levels"] == [1, 2]
    for level, hop in ((2, 128), (1, 32)):
        sound, _ = soundfile.read(tmp_path / "b" / "item_000" / f"level_{level}.wav")
        assert len(sound) == round(3 * BAR)
        name, last = f"level_{level}", int(2 * BAR) // 128 * 128 // hop
        assert (open_end[name][last:] != loop[name][last:]).any()
    first = int(2 * BAR) // 128 - 1
    np.testing.assert_array_equal(open_end["level_2"][:first], loop["level_2"][:first])


def test_finer_levels_of_a_loop_lead_to_its_beginning(model, tmp_path):
    flags = ("--bars=3", f"--bpm={BPM}")
    loop, _ = sample(model, tmp_path / "a", *flags, "--loop")
    codes = f"--codes={tmp_path / 'a' / 'item_000' / 'codes.npz'}"
    flags = ("--mode=upsample", codes, *flags)
    open_end, _ = sample(model, tmp_path / "b", *flags, levels="1")
    closed, meta = sample(model, tmp_path / "c", *flags, "--loop", levels="1")
    assert (meta["loop"], meta["closed_levels"]) == (True, [1])
    np.testing.assert_array_equal(closed["level_2"], loop["level_2"])
    last = int(2 * BAR) // 128 * 4
    np.testing.assert_array_equal(open_end["level_1"][: last - 4], closed["level_1"][: last - 4])
    assert (open_end["level_1"][last:] != closed["level_1"][last:]).any()
    sound, _ = soundfile.read(tmp_path / "c" / "item_000" / "level_1.wav")
    assert len(sound) == round(3 * BAR)


def test_a_range_in_bars_is_that_of_the_tracks_own_grid(model, tmp_path):
    original, _ = sample(model, tmp_path / "a", "--bars=4", f"--bpm={BPM}")
    codes = tmp_path / "a" / "item_000" / "codes.npz"
    flags = ("--mode=reroll", f"--codes={codes}", "--reroll=bar2:bar3", "--candidates=2")
    changed, meta = sample(model, tmp_path / "b", *flags)
    assert meta["reroll"] == pytest.approx([BAR / RATE, 2 * BAR / RATE])
    assert meta["grid"]["bpm"] == BPM
    places = np.nonzero(original["level_2"] != changed["level_2"])[0]
    assert places.min() >= BAR // 128
    assert places.max() <= 2 * BAR // 128 + 1


def test_continuing_keeps_the_grid(model, tmp_path):
    sample(model, tmp_path / "a", "--bars=2", f"--bpm={BPM}", "--key=Am")
    codes = tmp_path / "a" / "item_000" / "codes.npz"
    _, meta = sample(model, tmp_path / "b", "--mode=continue", f"--codes={codes}", "--seconds=2")
    assert meta["grid"] == {"bpm": BPM, "first_downbeat": 0.0, "key": "A minor"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--key=H"], "'H' is no key"),
        (["--bpm=9"], "--bpm=9 must be 20 to 400"),
        (["--bars=2"], "--bars=2 needs --bpm"),
        (["--loop", "--seconds=2"], "--loop is for tracks of --bars"),
        (["--loop", "--bars=1", "--bpm=400"], "--bars=1: --loop needs two bars or more"),
        (["--loop", "--bars=2.5", "--bpm=400"], "--bars=2.5: --loop needs two bars or more"),
        (["--guidance=-1"], "--guidance=-1.0 must be 0 or more"),
        (["--guidance=2,2"], "--guidance has 2 numbers for 3 levels"),
        (["--guided_labels=mood"], "--guided_labels=mood is not known; give all, or some of "),
        (["--guided_labels="], "--guided_labels= is not known"),
        (["--first_beat=1"], "--first_beat is of --prompt or --codes"),
    ],
)
def test_impossible_requests_are_refused_in_one_line(model, tmp_path, flags, message):
    done = call_in_process("sample", f"--model={model}", f"--output={tmp_path / 'x'}", *flags)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert message in line


def test_guidance_by_a_label_that_the_model_lacks_is_refused(tmp_path):
    model = small_bundle.write(tmp_path / "m", lyrics="none")
    flags = ("--levels=2", "--guidance=2", "--guided_labels=key,bar")
    done = call_in_process("sample", f"--model={model}", f"--output={tmp_path / 'x'}", *flags)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert "--guided_labels=key,bar: level 2 of" in line
    assert "knows only artist, genre; give --guidance=1" in line


def test_a_model_without_the_labels_says_so(tmp_path):
    model = small_bundle.write(tmp_path / "m", lyrics="none")
    flags = ("--bars=1", f"--bpm={BPM}", "--key=Am", "--levels=2")
    done = run_in_process("sample", f"--model={model}", f"--output={tmp_path / 'x'}", *flags)
    for flag in ("bpm", "key"):
        assert f"was trained without this label: --{flag} does not change" in done.stderr


def test_a_prompt_is_continued_on_its_own_grid(model, tmp_path):
    track = house.track(3, seconds=8.0, seed=5)
    audio.write_wav(tmp_path / "prompt.wav", track.mix)
    prompt = ("--mode=primed", f"--prompt={tmp_path / 'prompt.wav'}", "--prompt_seconds=6")
    _, meta = sample(model, tmp_path / "a", *prompt, "--seconds=6.1")
    assert meta["grid"]["bpm"] == pytest.approx(track.bpm, rel=3e-3)
    period = 60 * RATE / track.bpm
    offset = (meta["grid"]["first_downbeat"] + period / 2) % period - period / 2
    assert abs(offset) < 0.02 * RATE  # a beat begins at the first sample
    flags = ("--bpm=120", "--first_beat=0.25", "--key=8A")
    _, meta = sample(model, tmp_path / "b", *prompt, "--seconds=6.1", *flags)
    assert meta["grid"] == {"bpm": 120.0, "first_downbeat": 0.25 * RATE, "key": "A minor"}
