"""Files of requests by the command itself: items as those of single commands, resume, bad lines."""

import json

import numpy as np
import pytest
import soundfile

from jukejax.data.sample_items import MEASURED
from jukejax.sampling.levels import LevelSampler
from tests.support import small_bundle
from tests.support.command import run_in_process
from tests.support.killed_sampling import Killed, kill_within_second_level
from tests.support.small_sample import read_files

LINES = (  # shapes: A, A, B, B, C, C, D
    {"seed": 5, "artist": "anna", "temperature": [0.8, 0.9], "guidance": [2, 1]},
    {"seed": 6, "genre": "house", "guidance": [1.5, 1], "guided_labels": "genre", "num_samples": 2},
    {"mode": "primed", "prompt": "TONE", "prompt_seconds": 0.1, "seed": 3},
    {"mode": "continue", "codes": "SKETCH", "prompt_seconds": 0.1, "artist": "ben"},
    {"mode": "upsample", "codes": "SKETCH", "levels": 1, "seconds": None, "first_item": 4},
    {"mode": "upsample", "codes": "SKETCH", "levels": 1, "seconds": None, "seed": 8},
    {"mode": "reroll", "codes": "SKETCH", "levels": 2, "seconds": None, "reroll": [0.1, 0.2]},
)
BATCHES = [[0, 1, 2], [3, 4], [5, 6], [7]]


@pytest.fixture(autouse=True)
def without_pages(monkeypatch):
    monkeypatch.setattr("jukejax.pages.report.write_sample_page", lambda folder: None)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none")


@pytest.fixture
def lines(model, tmp_path):
    """The lines, with a tone and an earlier track as sources."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jukejax.pages.report.write_sample_page", lambda folder: None)
        source = tmp_path / "source"
        run_in_process("sample", f"--model={model}", "--seconds=0.25", f"--output={source}")
    time = np.arange(22050) / 44100
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 440 * time), 44100)
    places = {
        "TONE": str(tmp_path / "tone.wav"),
        "SKETCH": str(source / "item_000" / "codes.npz"),
    }
    return [{name: places.get(str(value), value) for name, value in line.items()} for line in LINES]


@pytest.fixture
def sample(model, tmp_path):
    """Returns a function that samples a file with these lines into a folder."""

    def sample_lines(lines, name, *more, code=0):
        path = tmp_path / "requests.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        words = (f"--model={model}", "--seconds=0.25", "--levels=2,1", f"--requests={path}")
        output = tmp_path / name
        return output, run_in_process("sample", *words, f"--output={output}", *more, code=code)

    return sample_lines


def to_words(line):
    """Returns the flags of a line."""
    separators = {"reroll": ":"}
    defaults = {"seconds": 0.25, "levels": [2, 1]}
    for name, value in {**defaults, **line}.items():
        items = value if isinstance(value, list) else [value]
        if value is not None:
            yield f"--{name}={separators.get(name, ',').join(map(str, items))}"


def read_item(folder):
    """Reads the files of an item, of meta.json all but the measurements."""
    meta = json.loads((folder / "meta.json").read_text())
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    return contents | {"meta.json": {k: v for k, v in meta.items() if k not in MEASURED}}


def test_items_are_those_of_single_commands_in_one_batch_a_shape(model, lines, sample, tmp_path):
    output, done = sample(lines, "many")
    assert done.stdout.endswith(f"8 tracks of 4 shapes: {output / 'index.html'}\n")
    assert json.loads((output / "settings.json").read_text())["batches"] == BATCHES
    number = 0
    for index, line in enumerate(lines):
        alone = tmp_path / f"alone {index}"
        run_in_process("sample", f"--model={model}", *to_words(line), f"--output={alone}")
        for item in sorted(alone.glob("item_*")):
            assert read_item(output / f"item_{number:03d}") == read_item(item), line
            number += 1
    assert number == 8


def test_killed_run_is_resumed_and_finished_items_are_kept(lines, sample, monkeypatch):
    """Killed within the second level of the first batch, the others of which are missing."""
    expected, _ = sample(lines, "whole")
    with monkeypatch.context() as patch:
        kill_within_second_level(patch)
        with pytest.raises(Killed):
            sample(lines, "killed")
    sampled, make_level = [], LevelSampler.make_level

    def record_level(self, level, codes, *rest):
        sampled.append((level, [plan.request.mode for plan in self.plans]))
        return make_level(self, level, codes, *rest)

    monkeypatch.setattr(LevelSampler, "make_level", record_level)
    output, _ = sample(lines, "killed")
    assert read_files(output) == read_files(expected)
    assert {level for level, _ in sampled} == {1}  # the first level was finished
    sampled.clear()
    sample([*lines, {"seed": 6, "guidance": [2, 1]}], "killed")  # of the first shape
    assert sampled == [(2, ["ancestral"]), (1, ["ancestral"])]
    for name in (f"item_{number:03d}" for number in range(8)):
        assert read_item(output / name) == read_item(expected / name)
    changed = [{**lines[0], "seed": 9}, *lines[1:]]
    _, done = sample(changed, "killed", code=2)
    assert "was begun with seed=5 in request 0, not 9; take another --output" in done.stderr
    _, done = sample(lines[:2], "killed", code=2)
    assert "was begun with 8 requests, and there are 2 now" in done.stderr


def test_line_that_the_model_does_not_know_is_refused_or_skipped_and_its_number_stays_free(
    sample,
):
    lines = [{"seed": 1}, {"artist": "nobody", "num_samples": 2}, {"seed": 3}]
    output, done = sample(lines, "out", "--levels=2", code=2)
    assert "line 2 of" in done.stderr
    assert "nobody" in done.stderr
    assert not output.exists()
    _, done = sample(lines, "out", "--levels=2", "--bad_requests=skip")
    assert "it is skipped" in done.stderr
    assert sorted(path.name for path in output.glob("item_*")) == ["item_000", "item_003"]
    sample([lines[0], {"artist": "anna", "num_samples": 2}, lines[2]], "out", "--levels=2")
    names = sorted(path.name for path in output.glob("item_*"))
    assert names == [f"item_{number:03d}" for number in range(4)]


def test_folder_of_sketches_is_upsampled_in_one_batch(model, tmp_path):
    sketches, output = tmp_path / "sketches", tmp_path / "out"
    words = (f"--model={model}", "--seconds=0.1")
    run_in_process("sample", *words, "--levels=2", "--num_samples=3", f"--output={sketches}")
    words = (f"--model={model}", "--mode=upsample", "--levels=1", f"--codes={sketches}")
    done = run_in_process("sample", *words, f"--output={output}", "--format=wav")
    assert "3 tracks of 1 shape:" in done.stdout
    for number in range(3):
        codes = np.load(output / f"item_{number:03d}" / "codes.npz")
        source = np.load(sketches / f"item_{number:03d}" / "codes.npz")
        np.testing.assert_array_equal(codes["level_2"], source["level_2"])
    takes = [f"take_{number:03d}_seed0.wav" for number in range(3)]
    assert sorted(path.name for path in output.glob("take_*")) == takes
