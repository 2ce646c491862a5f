"""The commands of takes: arguments that `sample` takes, and ranges in bars that are right."""

import numpy as np
import pytest
import soundfile

from jukejax import sample
from jukejax.common import files
from jukejax.data.codes_file import read_codes_file
from jukejax.inference.codec import Codec
from jukejax.studio import composing
from jukejax.studio.composing import Composition, Settings
from jukejax.studio.pictures import compute_peaks, draw_mel
from jukejax.studio.views import describe_take
from tests.support.studio import write_take


def parse(arguments):
    """Returns the flags of `sample` by name, as the command reads them."""
    flags = dict(word[2:].partition("=")[::2] for word in arguments)
    for name in flags:
        assert name in sample.FLAGS, name
    return flags


@pytest.fixture
def take(studio, project, model):
    [take] = studio.compose(project, model, Composition(bpm=120, bars=4), Settings())
    write_take(studio, "first-project", take)
    return take


@pytest.fixture
def source(studio, project, take):
    return studio.read_files(project, take)


def test_new_takes_are_sketches_with_consecutive_seeds(studio, project, model):
    composition = Composition(bpm=122, bars=8, key="Am", artist="Kiko Halden")
    takes = studio.compose(project, model, composition, Settings(seed=5), count=3)
    arguments = [parse(project.read().takes[take].arguments) for take in takes]
    assert [flags["seed"] for flags in arguments] == ["5", "6", "7"]
    assert len({flags["output"] for flags in arguments}) == 3
    first = arguments[0]
    assert (first["bpm"], first["bars"], first["key"]) == ("122", "8", "A minor")
    assert (first["artist"], first["levels"], first["stream"]) == ("Kiko Halden", "2", "")
    assert [job.subject for job in studio.queue.list_jobs()] == takes


def test_temperatures_are_by_level_and_guidance_is_of_the_top(model):
    settings = Settings(guidance=2, temperature={2: 0.9, 0: 1.1}, is_sketch=False)
    flags = parse(composing.compose(model, Composition(seconds=12), settings, 0))
    assert (flags["levels"], flags["temperature"]) == ("2,1,0", "0.9,0.98,1.1")
    assert (flags["guidance"], flags["guided_labels"]) == ("2,1,1", "artist,genre,key")


def test_bars_are_those_of_the_grid(source):
    assert len(source.bars) == 5  # and the end of the last
    assert composing.bar_range(source, 2, 3) == (2.0, 6.0)
    assert composing.bar_range(source, 4, 4) == pytest.approx((6.0, 8.0), abs=0.003)


def test_a_reroll_names_its_range_and_its_levels(model, source):
    flags = parse(composing.reroll_take(model, Settings(seed=9), source, 2, 3, 4))
    assert (flags["mode"], flags["reroll"], flags["levels"]) == ("reroll", "2.0:6.0", "2")
    assert (flags["candidates"], flags["seed"]) == ("4", "9")
    assert flags["codes"] == str(source.codes)


def test_a_take_is_continued_by_bars(model, source):
    flags = parse(composing.continue_take(model, Settings(), source, 2, 3))
    assert (flags["prompt_seconds"], flags["seconds"]) == ("6.0", "10.0")


def test_finer_levels_are_those_that_are_missing_and_end_on_the_beat(model, source):
    flags = parse(composing.upsample_take(model, Settings(), source))
    assert (flags["mode"], flags["levels"]) == ("upsample", "1,0")
    assert (flags["bpm"], float(flags["bars"])) == ("120.0", 4.0)


def test_finer_levels_of_a_loop_are_closed_too(studio, project, model, take, source):
    meta = source.item / "meta.json"
    files.write_json(meta, files.read_json(meta) | {"loop": True})
    loop = studio.read_files(project, take)
    flags = parse(composing.upsample_take(model, Settings(), loop))
    assert (flags["loop"], flags["bars"], "stream" in flags) == ("", "4.0", False)


def test_a_loop_draws_its_last_bar_again(model, source):
    flags = parse(composing.loop_take(model, Settings(), source, 4))
    assert (flags["bars"], flags["prompt_seconds"], flags["loop"]) == ("4", "6.0", "")


def test_a_trimmed_take_has_the_codes_and_the_sound_of_its_bars(studio, project, take, source):
    trimmed = studio.trim_take(project, take, 2, 3)
    cut = studio.read_files(project, trimmed)
    first = 88_200 // 128
    codes = read_codes_file(source.codes)[2]
    np.testing.assert_array_equal(read_codes_file(cut.codes)[2][:600], codes[first : first + 600])
    whole, _ = soundfile.read(source.sound, dtype="int16")
    part, _ = soundfile.read(cut.sound, dtype="int16")
    np.testing.assert_array_equal(part, whole[first * 128 : 3 * 88_200])
    # The first code begins before the bar: the grid says where.
    assert cut.bars[0] == pytest.approx((88_200 - first * 128) / 44_100)
    assert project.read().takes[trimmed].parent == take


@pytest.mark.parametrize("unit", [1024, None])
def test_a_trimmed_take_begins_with_a_frame_of_codes(studio, project, take, unit):
    item = write_take(studio, "first-project", take, levels=(2, 1), unit=unit)
    source = studio.read_files(project, take)
    cut = studio.read_files(project, studio.trim_take(project, take, 2, 3))
    begin = 88_200 // 1024 * 1024  # a take without a unit has that of the shipped model
    for level, hop in ((2, 128), (1, 32)):
        codes, expected = (read_codes_file(each.codes)[level] for each in (cut, source))
        stop = -(-3 * 88_200 // 128) * 128
        np.testing.assert_array_equal(codes, expected[begin // hop : stop // hop])
        whole, _ = soundfile.read(item / f"level_{level}.wav", dtype="int16")
        part, _ = soundfile.read(cut.item / f"level_{level}.wav", dtype="int16")
        np.testing.assert_array_equal(part, whole[begin : 3 * 88_200])
    # The bar begins within the first frame: the grid says where.
    assert cut.bars[0] == pytest.approx((88_200 - begin) / 44_100)
    assert cut.seconds == pytest.approx((stop - begin) / 44_100)
    assert len(cut.bars) == 3


def test_the_studio_knows_the_unit_of_the_shipped_model(model):
    assert model.read_unit() == Codec.load(model.folder).config.unit == 1024


def test_the_player_gets_peaks_and_bars(studio, take, source):
    view = describe_take(studio, "first-project", take)
    assert (view["seconds"], view["num_bars"]) == (8.0, 4)
    assert view["bars"][:3] == [0.0, 2.0, 4.0]
    peaks = np.array(view["peaks"])
    assert peaks.shape == (800, 2)
    assert peaks[:, 1] == pytest.approx(0.3, abs=0.001)
    assert peaks[:, 0] == pytest.approx(-0.3, abs=0.001)
    assert draw_mel(source.sound).startswith(b"\x89PNG")


def test_peaks_are_extremes_of_their_parts(tmp_path):
    sound = np.zeros(1000, np.float32)
    sound[501], sound[999] = 0.5, -0.25
    soundfile.write(tmp_path / "a.wav", sound, 44_100, "FLOAT")
    peaks = compute_peaks(tmp_path / "a.wav", 4)
    assert peaks == [[0, 0], [0, 0], [0, 0.5], [-0.25, 0]]
