"""The Python API: arrays in and out, messages that name arguments, no state but the object's."""

import doctest
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import jukejax
from jukejax import api
from jukejax.data.codes_file import read_codes_file
from jukejax.sampling import folder
from tests.support import small_bundle
from tests.support.command import ROOT

SECONDS = 0.25  # two windows of the small bundle's top level
QUICK = ("jukejax.load", "jukejax.api.Jukebox.decode", "jukejax.api.Jukebox.encode")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none", grid=True)


@pytest.fixture(scope="module")
def model(path):
    return jukejax.load(path)


@pytest.fixture(scope="module")
def sound():
    """Returns 0.3 s of noise, float32 [samples]."""
    return np.random.default_rng(0).normal(0, 0.1, 13230).astype(np.float32)


def find_examples():
    """Finds the doctests of the package and of the API, by name."""
    finder = doctest.DocTestFinder()
    cases = finder.find(jukejax.load, "jukejax.load", globs={"load": jukejax.load})
    cases += finder.find(api, globs={"jukejax": jukejax, "np": np})
    return [case for case in cases if case.examples]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case.name in QUICK else pytest.mark.slow, id=case.name)
        for case in find_examples()
    ],
)
def test_examples_of_the_documentation(case):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    lines = []
    runner.run(case, out=lines.append)
    assert not runner.failures, "".join(lines)


def test_importing_the_package_is_quick_and_imports_no_jax():
    program = (
        "import sys, time; start = time.process_time(); import jukejax; "
        "print(time.process_time() - start, 'jax' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, *imported = done.stdout.split()
    assert float(seconds) < 0.3
    assert imported == ["False", "False"]


def test_tracks_are_arrays_by_item_and_level(model):
    calls = []
    tracks = model.sample(
        artist="anna",
        bpm=120,
        key="Am",
        seconds=SECONDS,
        num_samples=2,
        temperature=[0.9, 0.95, 1.0],
        progress=lambda *call: calls.append(call),
    )
    tops = -(-round(SECONDS * 44100) // 128)
    assert {k: v.shape for k, v in tracks.codes.items()} == {
        2: (2, tops),
        1: (2, 4 * tops),
        0: (2, 16 * tops),
    }
    assert (tracks.audio.shape, tracks.audio.dtype) == ((2, 128 * tops), np.float32)
    assert tracks.audio is tracks.sounds[0]
    assert [level for level, *_ in calls] == sorted((level for level, *_ in calls), reverse=True)
    assert [call for call in calls if call[1] == call[2]] == [
        (2, tops, tops),
        (1, 4 * tops, 4 * tops),
        (0, 16 * tops, 16 * tops),
    ]
    again = model.sample(
        artist="anna", bpm=120, key="Am", seconds=SECONDS, temperature=[0.9, 0.95, 1.0]
    )
    np.testing.assert_array_equal(again.audio[0], tracks.audio[0])
    assert not np.array_equal(tracks.audio[0], tracks.audio[1])
    settings = json.loads(json.dumps(tracks.settings))
    assert settings["temperature"] == [0.9, 0.95, 1.0]
    assert (settings["dtype"], settings["weights"]) == ("float32", "float")
    assert (settings["schedule"], settings["guidance"]) == ("sequential", 1.0)
    for level, codes in tracks.codes.items():
        np.testing.assert_array_equal(model.decode(codes, level), tracks.sounds[level])


def test_a_sketch_is_refined_continued_and_written(model, tmp_path):
    sketches = model.sample(seconds=SECONDS, levels=2, num_samples=3, artist="ben", bpm=100)
    assert set(sketches.sounds) == {2}
    fine = model.sample(codes=sketches[2], mode="upsample", levels=(1, 0))
    np.testing.assert_array_equal(fine.codes[2], sketches.codes[2][2:])
    assert (fine.settings["mode"], fine.descriptions[0]["artist"]) == ("upsample", "ben")
    assert fine.descriptions[0]["grid"]["bpm"] == 100
    longer = model.sample(codes=fine[0], seconds=2 * SECONDS, levels=2)
    length = fine.codes[2].shape[1]
    np.testing.assert_array_equal(longer.codes[2][:, :length], fine.codes[2])
    fine.write_folder(tmp_path / "out")
    item = tmp_path / "out" / "item_000"
    for level, codes in read_codes_file(item / "codes.npz").items():
        np.testing.assert_array_equal(codes, fine.codes[level][0])
    assert folder.read_grid(item / "codes.npz").bpm == 100
    assert (tmp_path / "out" / "index.html").exists()
    with pytest.raises(ValueError, match="was begun with"):
        longer.write_folder(tmp_path / "out")
    fine.write_wav(tmp_path / "track.wav")
    written, rate = soundfile.read(tmp_path / "track.wav")
    assert rate == 44100
    np.testing.assert_allclose(written, fine.audio[0] / max(1, abs(fine.audio).max()), atol=1e-4)
    refined = model.sample(codes=item / "codes.npz", mode="upsample", levels=(1, 0))
    np.testing.assert_array_equal(refined.codes[0], fine.codes[0])


def test_a_recording_is_continued_at_any_rate(model, sound):
    tracks = model.sample(prompt=sound, seconds=1.0, levels=2, bpm=120, first_beat=0)
    codes = model.encode(sound)[2]
    np.testing.assert_array_equal(tracks.codes[2][0, : len(codes)], codes)
    assert tracks.descriptions[0]["prompt_seconds"] == pytest.approx(len(codes) * 128 / 44100)
    stereo = np.repeat(sound[:, None], 2, axis=1)
    np.testing.assert_array_equal(model.encode(stereo)[2], codes)
    assert len(model.encode(sound, sample_rate=88200)[2]) == pytest.approx(len(codes) / 2, abs=1)


def test_two_models_do_not_disturb_each_other(model, sound, tmp_path):
    other = jukejax.load(small_bundle.write(tmp_path, lyrics="none"), dtype="float32")
    before = model.encode(sound)[0]
    other.sample(seconds=SECONDS, levels=2)
    np.testing.assert_array_equal(model.encode(sound)[0], before)
    assert repr(other).startswith("Jukebox(")


def test_embeddings_have_a_row_for_each_window(model, sound):
    result = model.embed(np.tile(sound, 3))
    rows = len(result.values)
    assert result.values.shape == (rows, 16)
    assert (result.begin_seconds[0], result.end_seconds[-1]) == (0, pytest.approx(0.9, abs=0.01))
    every = model.embed(np.tile(sound, 3), 0, pooling="none", level=1)
    assert len(every.values) == 4 * (3 * len(sound) // 128)
    with pytest.raises(ValueError, match="layer 9 does not exist"):
        model.embed(sound, 9)
    with pytest.raises(ValueError, match="layer='top' is not known; give a number, or middle"):
        model.embed(sound, "top")
    with pytest.raises(ValueError, match="pooling='sum' is not known; give mean, max"):
        model.embed(sound, pooling="sum")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bpm": "fast"}, "bpm='fast' is not a number"),
        ({"bpm": 1000}, "bpm=1000 must be 20 to 400"),
        ({"key": "H"}, "'H' is no key; write one such as Am"),
        ({"bars": 4}, "bars=4 needs bpm"),
        ({"bars": 4, "bpm": 120, "seconds": 8}, "is given twice: remove seconds or bars"),
        ({"seconds": -1}, r"seconds=-1\.0 must be positive"),
        ({"seed": 1.5}, r"seed=1\.5 is not a whole number"),
        ({"num_samples": 0}, "num_samples=0 must be at least 1"),
        ({"levels": (2, 0)}, "levels=2,0 leaves out level 1"),
        ({"levels": 3}, "has no prior for level 3; it has 0, 1, 2"),
        ({"temperature": (1, 2)}, "must be one number, or one for each level: 2, 1, 0"),
        ({"temperature": -1}, r"temperature=-1\.0 must be 0 or more"),
        ({"guided_labels": 5}, "guided_labels=5 is not a list of names"),
        ({"guided_labels": ("key", "mood")}, "guided_labels=mood is not known; give all, or some"),
        ({"schedule": "fast"}, "schedule='fast' is not known; give sequential, parallel"),
        ({"mode": "new"}, "mode=new is not known; modes: ancestral"),
        ({"mode": "upsample"}, "mode=upsample needs prompt, an audio file or codes"),
        ({"artist": "nobody"}, "nobody"),
        ({"prompt": np.zeros(100, np.int16)}, "the audio is int16, and must be float"),
        ({"prompt": np.zeros((2, 44100), np.float32)}, r"shape \[2, 44100\], and must be"),
        ({"prompt": "nothing.wav"}, "prompt=nothing.wav is no file"),
        ({"prompt": np.full(9, np.nan)}, "samples that are not numbers"),
        ({"codes": {}}, "codes is dict; give one of the tracks of sample"),
        ({"reroll": (1,)}, r"reroll=\(1,\) is not a range in seconds"),
        ({"lyrics": "la la"}, "was made without lyrics; remove lyrics"),
    ],
)
def test_bad_values_are_named_as_arguments(model, values, message):
    with pytest.raises(ValueError, match=message) as caught:
        model.sample(**values)
    assert "--" not in str(caught.value)


def test_codes_that_are_none_are_refused(model):
    for codes, message in [
        (np.array([16]), "codes hold 16, and must be whole numbers of 0 to 15"),
        (np.array([0.5]), "codes hold float64"),
        (np.zeros((1, 1, 1), int), "give .t. or .items, t."),
    ]:
        with pytest.raises(ValueError, match=message):
            model.decode(codes, 2)
    with pytest.raises(ValueError, match="level=3 does not exist; give 0 to 2"):
        model.decode(np.zeros(8, int), 3)
    with pytest.raises(ValueError, match="choose one, such as tracks"):
        model.sample(codes=model.sample(seconds=SECONDS, levels=2, num_samples=2))


def test_a_vqvae_alone_encodes_and_decodes(path, sound):
    codec = jukejax.load(path / "vqvae")
    codes = codec.encode(sound)
    assert codec.decode(codes[0], 0).shape == (len(sound) // 128 * 128,)
    assert codec.levels == ()
    with pytest.raises(ValueError, match="has a VQ-VAE, and no prior, which this needs"):
        codec.sample()
    with pytest.raises(ValueError, match="weights='int4' is not known; give float, int8"):
        jukejax.load(path, weights="int4")
    with pytest.raises(ValueError, match="holds level_2, but vqvae is needed here"):
        jukejax.load(path / "level_2")
    with pytest.raises(ValueError, match="is no model: give a bundle"):
        jukejax.load(ROOT / "docs")
