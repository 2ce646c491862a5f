"""Files of requests: lines with the values of flags, defaults, sources, and what is refused."""

import json

import pytest
from absl import flags

from jukejax.common import files
from jukejax.sampling import source_paths
from jukejax.sampling.flag_requests import collect_settings, fill_flags, make_flag_request
from jukejax.sampling.request_file import BadLines, make_request_entries, read_entries
from jukejax.sampling.request_flags import NAMES, define_request_flags, read_values

MODEL = {"hops": [8, 32, 128], "sample_rate": 44100}


def read_flags(*words):
    values = flags.FlagValues()
    define_request_flags(values)
    values(["sample", *words])
    return values


@pytest.fixture
def read(tmp_path):
    """Returns a function that reads lines, with the flags of a command as defaults."""

    def read_lines(*lines, words=(), skip=False):
        path = tmp_path / "requests.jsonl"
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        path.write_text("\n".join(texts))
        values = read_flags(*words)
        bad_lines = BadLines(str(path), is_skipping=skip)
        return read_entries(read_values(values), MODEL, bad_lines, values)

    return read_lines


@pytest.fixture
def sketches(tmp_path):
    """A folder of two sketches."""
    for name in ("item_001", "item_000"):
        (tmp_path / "sketches" / name).mkdir(parents=True)
        (tmp_path / "sketches" / name / "codes.npz").write_bytes(name.encode())
    return tmp_path / "sketches"


def test_line_is_the_request_of_the_command_with_these_flags(read, sketches):
    codes = str(sketches / "item_000" / "codes.npz")
    line = {
        "mode": "reroll",
        "codes": codes,
        "reroll": [1, 2.5],
        "levels": [2, 1],
        "temperature": [0.9, 1],
        "top_k": 40,
        "top_p": [0.95, 0],
        "min_p": 0.02,
        "guidance": 2,
        "guided_labels": ["key", "bar"],
        "seed": 7,
        "num_samples": 3,
        "first_item": 2,
        "key": "8A",
        "artist": "Kiko Halden",
    }
    lists = {"levels": "2,1", "temperature": "0.9,1", "top_p": "0.95,0", "min_p": "0.02"}
    lists |= {"guided_labels": "key,bar"}
    words = {**line, "reroll": "1:2.5", **lists}
    flags = read_flags(*(f"--{name}={value}" for name, value in words.items()))
    values = fill_flags(read_values(flags), MODEL)
    [entry] = read(line)
    assert entry.request == make_flag_request(values, MODEL)
    assert entry.settings == collect_settings(values, MODEL["hops"])
    assert entry.request.items == range(2, 5)
    assert entry.request.temperature == {2: 0.9, 1: 1.0}
    assert entry.request.find_logits_filter(2) == (40, 0.95, 0.02)
    assert entry.request.find_logits_filter(1) == (40, 0, 0.02)
    assert set(NAMES) <= set(entry.settings)


def test_flags_of_the_command_are_defaults_and_null_removes_one(read):
    words = ("--seconds=5", "--seed=3", "--temperature=0.8", "--genre=house", "--loop=false")
    entries = read(
        {}, "", {"seed": 4, "genre": None}, {"seconds": None, "bars": 2, "bpm": 120, "loop": True},
        words=words,
    )  # fmt: skip
    first, second, third = (entry.request for entry in entries)
    assert [entry.line for entry in entries] == [1, 3, 4]
    assert (first.seconds, first.seed, first.genre) == (5, 3, "house")
    assert (second.seconds, second.seed, second.genre) == (5, 4, None)
    assert (third.seconds, third.is_exact, third.loop, third.seed) == (4, True, True, 3)
    assert first.temperature == third.temperature == {2: 0.8, 1: 0.8, 0: 0.8}


def test_open_settings_of_a_line_are_those_that_the_model_recommends(tmp_path):
    sampling = {"temperature": {"level_2": 1.4, "level_1": 0.9}, "schedule": "parallel"}
    path = tmp_path / "requests.jsonl"
    path.write_text('{"levels": [2]}\n{"temperature": 1, "schedule": null}')
    values = read_flags("--top_k=9")
    model = {**MODEL, "sampling": sampling}
    entries = read_entries(
        read_values(values), model, BadLines(str(path), is_skipping=False), values
    )
    sketch, whole = (entry.request for entry in entries)
    assert (sketch.temperature, sketch.top_k) == ({2: 1.4}, {2: 9})
    assert whole.temperature == {2: 1.0, 1: 1.0, 0: 1.0}
    assert sketch.schedule == whole.schedule == "parallel"
    assert entries[0].settings["temperature"] == ["1.4"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{seconds: 4}", "double quotes at column 2: not a JSON object"),
        ("[1, 2]", r"\[1, 2\] is not a JSON object; write one such as"),
        ('"text"', "is not a JSON object"),
        ('{"seconds": NaN}', "NaN is not a number of JSON"),
        ('{"seed": 1, "seed": 2}', "seed stands twice"),
        ({"secnds": 4}, "secnds is not known; did you mean seconds?"),
        ({"output": "x"}, "output is not known; names are those of the flags of sample"),
        ({"memory_fraction": 0.5}, "memory_fraction is for the whole command"),
        ({"seconds": "long"}, "seconds=long must be a number"),
        ({"seed": 1.5}, r"seed=1\.5 must be a whole number"),
        ({"loop": "perhaps"}, "loop=perhaps must be true or false"),
        ({"mode": "new"}, "mode=new must be one of ancestral, primed"),
        ({"bpm": {"value": 120}}, "must be a number, a text, or a list of them"),
        (
            {"temperature": [1, 2]},
            "temperature has 2 numbers for 3 levels; it must be one number, or one for each",
        ),
        ({"top_k": [8, 0.5, 0]}, r"top_k=0\.5 is not a whole number"),
        ({"seconds": -1}, r"seconds=-1\.0 must be positive"),
        ({"mode": "primed"}, "mode=primed needs prompt, an audio file"),
        ({"mode": "upsample", "codes": "/none"}, "codes=/none is no file"),
        ({"mode": "upsample", "codes": "/none/*"}, r"codes=/none/\* has no codes.npz of a sample"),
        ({"lyrics": "la", "lyrics_file": "x"}, "lyrics and lyrics_file are both given"),
    ],
)
def test_bad_line_is_named_and_refused_or_skipped(read, line, message, capsys):
    with pytest.raises(ValueError, match=f"line 2 of .*requests.jsonl: .*{message}") as error:
        read({"seed": 1}, line)
    assert "\n" not in str(error.value)
    assert "--bad_requests=skip" in str(error.value)
    entries = read({"seed": 1}, line, {"seed": 3}, skip=True)
    assert [entry.request and entry.request.seed for entry in entries] == [1, None, 3]
    assert capsys.readouterr().err.endswith("; it is skipped\n")


def test_all_bad_lines_are_counted_in_one_message(read):
    with pytest.raises(ValueError, match=r"line 1 of .*, and 2 other bad lines"):
        read("{", {"seed": -1}, {"seed": 1}, "no")


def test_file_without_lines_is_refused(read):
    with pytest.raises(ValueError, match="has no line; write one JSON object a line"):
        read("", "  ")


def test_folder_and_pattern_are_a_request_for_each_file(read, sketches, tmp_path):
    codes = [str(sketches / name / "codes.npz") for name in ("item_000", "item_001")]
    line = {"mode": "upsample", "levels": "1,0", "seed": 2}
    for source in (sketches, sketches / "item_*", sketches / "*" / "codes.npz"):
        entries = read({**line, "codes": str(source)})
        assert [entry.request.codes for entry in entries] == codes
        assert [entry.request.seed for entry in entries] == [2, 2]
        assert len({entry.settings["codes_sha256"] for entry in entries}) == 2
    for name in ("b.wav", "a.flac", "notes.txt"):
        (tmp_path / name).write_bytes(b"sound")
    values = read_values(read_flags("--mode=primed", f"--prompt={tmp_path}"))
    entries = make_request_entries(values, MODEL)
    prompts = [entry.request.prompt for entry in entries]
    assert prompts == [str(tmp_path / "a.flac"), str(tmp_path / "b.wav")]


def test_example_of_the_documentation(read, sketches, tmp_path, monkeypatch):
    page = (files.REPOSITORY / "docs" / "sampling.md").read_text("utf-8")
    lines = [line.strip() for line in page.splitlines() if line.startswith('    {"')]
    assert len(lines) == 4
    monkeypatch.chdir(tmp_path)
    (tmp_path / "song.flac").write_bytes(b"sound")
    entries = read(*lines)
    assert [len(entry.request.items) for entry in entries] == [1, 2, 1, 1, 1]
    assert [entry.request.codes for entry in entries[3:]] == [
        "sketches/item_000/codes.npz",
        "sketches/item_001/codes.npz",
    ]


def test_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    path = tmp_path / "mix [final].wav"
    path.write_bytes(b"sound")
    assert not source_paths.is_plural(str(path))
    assert source_paths.list_files("prompt", str(path)) == [str(path)]
