import html
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from jukejax.data import audio, corpus
from jukejax.data.labels import Vocabulary
from jukejax.pages import page, report
from jukejax.pages.runs import Corpus, Run

EVIL = '<script>alert("x")</script> & Söhne'


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def tone(seconds=0.2):
    time = np.arange(int(seconds * 44_100)) / 44_100
    return (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)[:, None]


def make_samples(folder, levels=((2, 1, 0), (2,)), artist=EVIL):
    for i, present in enumerate(levels):
        item = folder / f"item_{i:03d}"
        item.mkdir(parents=True)
        for level in present:
            audio.write_wav(item / f"level_{level}.wav", tone())
        np.savez(item / "codes.npz", level_2=np.arange(4) % 2, level_1=np.zeros(16, np.int32))
        meta = {
            "seed": 71 + i,
            "artist": artist,
            "genre": "deep house",
            "mode": "primed",
            "seconds": 6.5,
            "temperature": [0.9, 0.95, 1.0],
            "prompt_seconds": 1.5,
            "timings": {"level_2": 4.0, "level_1": 16.0, "level_0": 60.0},
            "seconds_per_second_of_audio": 12.3,
            "gain": {"level_0": 0.5, "level_1": 1.0},
        }
        write_json(item / "meta.json", meta)
    write_json(folder / "settings.json", {"num_samples": len(levels)})
    return folder


def make_run(folder, key, values, heldout):
    folder.mkdir(parents=True)
    with (folder / "metrics.jsonl").open("w") as file:
        for step, value in enumerate(values, start=1):
            for split in ("train", "heldout"):
                entry = {"step": step, "split": split, "seconds": 2.0 * step, key: value}
                if key == "loss":
                    entry["level_0/spectral_convergence"] = value / 10
                file.write(json.dumps(entry) + "\n")
        file.write('{"step": 99, "spl')  # what a killed run leaves
    write_json(folder / "summary.json", {"steps": len(values), "seconds": 61, "heldout": heldout})
    return folder


def make_datasets(root):
    vocabulary = Vocabulary(("unknown",), ("unknown",))
    with (
        corpus.DatasetWriter(
            root / "audio", kind="audio", vocabulary=vocabulary, separator="repet"
        ) as music,
        corpus.DatasetWriter(
            root / "codes", kind="codes", vocabulary=vocabulary, codebook_size=8
        ) as codes,
    ):
        for i, split in enumerate(("train", "train", "heldout")):
            track = corpus.Track(
                f"track {i}", artist=EVIL, genre=("deep house",), bpm=121.5 + i, content=str(i)
            )
            samples = (tone(2.0) * 32767).astype(np.int16)
            music.add(split, track, audio=samples)
            levels = {f"level_{k}": np.arange(n) % (2 + k) for k, n in enumerate((160, 40, 10))}
            codes.add(split, track, **levels)


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """Every folder of a whole run, and its page."""
    root = tmp_path_factory.mktemp("road")
    make_datasets(root)
    make_samples(root / "samples")
    for name, start in (("vqvae", 0.2), ("control", 0.4)):
        held = {f"level_{k}/spectral_convergence": start * (k + 1) for k in range(3)}
        make_run(root / name, "loss", [5.0, 4.0, 3.5], held)
    for name in ("original", "level_0", "level_1", "level_2"):
        (root / "vqvae/reconstruction").mkdir(exist_ok=True)
        audio.write_wav(root / f"vqvae/reconstruction/{name}.wav", tone())
    for level, bits in ((2, 4.5), (1, 4.25), (0, 3.0)):
        held = {"bits_per_code": bits, "histogram_entropy": 5.0, "improvement": 1 - bits / 5}
        make_run(root / f"prior_{level}", "bits_per_code", [6.0, 5.0, bits], held)
    (root / "commands.txt").write_text("python -m jukejax.train --config='a<b'\n")
    write_json(root / "timings.json", {"prepare": 30, "train the <VQ-VAE>": 95.4})
    write_json(root / "bundle/model.json", {"levels": [2, 1, 0], "licence": "ours"})
    index, figures = report.write_road_page(
        root / "page",
        audio=root / "audio",
        codes=root / "codes",
        vqvae=root / "vqvae",
        control=root / "control",
        priors=[root / f"prior_{level}" for level in (2, 1, 0)],
        bundle=root / "bundle",
        samples=root / "samples",
        commands=root / "commands.txt",
        timings=root / "timings.json",
    )
    return index, dict(figures)


class Links(HTMLParser):
    """Collects what a page refers to, and checks that its tags nest."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.images, self.sounds, self.open, self.scripts = [], [], [], [], 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.targets += [attributes[key] for key in ("src", "href", "srcset") if key in attributes]
        if tag == "img":
            self.images.append(attributes)
        if tag == "audio":
            self.sounds.append(attributes)
        self.scripts += tag == "script"
        if tag not in ("img", "source", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(index):
    text = index.read_text(encoding="utf-8")
    links = Links(text)
    assert EVIL not in text
    assert links.scripts == 1  # the page's own line
    for target in links.targets:
        if target.startswith("#"):
            assert f'id="{target[1:]}"' in text
        else:
            assert "://" not in target
            assert not target.startswith("/")
            assert (index.parent / unquote(target)).stat().st_size > 100
    assert all(image["alt"] for image in links.images)
    assert all(sound["aria-label"] and "controls" in sound for sound in links.sounds)
    return text, links


def words_of(text):
    plain = html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("\u00a0", " ")
    return " ".join(plain.split())


def test_sample_page_plays_every_level_and_tells_how_it_was_made(tmp_path):
    index = report.write_sample_page(make_samples(tmp_path / "my samples #1"))
    text, links = check_page(index)
    assert [sound["src"] for sound in links.sounds] == [
        "item_000/level_0.wav",
        "item_000/level_1.wav",
        "item_000/level_2.wav",
        "item_001/level_2.wav",
    ]
    said = words_of(text)
    for fact in (
        f"Track 1 · {EVIL} · deep house",
        "seed 71",
        "mode primed",
        "length 6.5 s",
        "temperature 2, 1, 0 1.0, 0.95, 0.9",
        "prompt (given, not made) 1.5 s",
        "Level 0 came out louder than the file format can hold and was turned down as a whole, "
        "to 50 % (−6.0 dB); nothing was cut off.",
        "Unfinished: level 1 and level 0 are not there",
    ):
        assert fact in said
    assert "Level 1 came out louder" not in said
    assert "computed in" not in said  # the page of the same command is the same
    assert (tmp_path / "my samples #1/item_000/level_0.dark.png").exists()


def test_sample_page_draws_again_only_what_changed(tmp_path):
    folder = make_samples(tmp_path / "s", levels=((2, 1),))
    report.write_sample_page(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert len(before) == 4
    audio.write_wav(folder / "item_000/level_1.wav", tone(0.4))
    report.write_sample_page(folder)
    changed = {path.name for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed == {"level_1.png", "level_1.dark.png"}


def test_sample_page_survives_empty_and_broken_items(tmp_path):
    folder = tmp_path / "s"
    text, _ = check_page(report.write_sample_page(folder))
    assert "No track is finished yet." in text
    make_samples(folder, levels=((2,),))
    (folder / "item_000/level_1.wav").write_bytes(b"not a sound")
    (folder / "item_000/meta.json").write_text('{"seed": 1,')
    (folder / "item_001").mkdir()
    text, links = check_page(report.write_sample_page(folder))
    assert "level_1.wav cannot be played" in text
    assert len(links.sounds) == 1


def test_road_page_shows_all_players_and_pictures(road):
    _, links = check_page(road[0])
    assert len(links.sounds) == 4 + 4  # the samples' levels; original and reconstructions
    assert len(links.images) == 4 + 4 + 2 + 3 + 3  # mel pictures, curves, codebooks
    assert all(sound["src"].startswith("assets/") for sound in links.sounds)


def test_road_page_compares_with_the_control_and_the_histogram(road):
    said = words_of(road[0].read_text("utf-8"))
    for row in (
        "2, coarsest 0.6000 1.2000 50.0 % lower",
        "0, finest 0.2000 0.4000 50.0 % lower",
        "2, coarsest 4.500 5.000 10.0 % ✗ missed",
        "1, middle 4.250 5.000 15.0 % ✓ reached",
        "0, finest 3.000 5.000 40.0 % ✓ reached",
        "2, coarsest 4 of 8 50.0 % 1.97 bits 4",
        "0, finest 2 of 8 25.0 % 1.00 bits 2",
        "prepare 30 s",
        "train the <VQ-VAE> 1 min 35 s",
        "in all 2 min 05 s",
        f"track 1 {EVIL} deep house training 2.0 s 122.5",
        f"track 2 {EVIL} deep house kept for testing 2.0 s 123.5",
        "voices taken out with repet",
        "python -m jukejax.train --config='a<b'",
        "The machine listened to 6.0 s of music (deep house). Then it made 2 tracks of 6.5 s",
        "computed in 1 min 20 s",
        "per second of music 12.3 s",
        "Level 1: computed in 16 s.",
    ):
        assert row in said
    assert "Left out" not in said


def test_key_figures_name_every_bar(road):
    figures = {name: value.replace("\u00a0", " ") for name, value in road[1].items()}
    assert figures["tracks heard"] == "3 (1 kept for testing)"
    assert figures["spectral convergence, level 1"] == "0.400, 50.0 % below a frozen codebook"
    assert figures["bits per code, level 0"] == "3.00 of 5.00 (40.0 % saved)"
    assert figures["computing per second of music"] == "12.3 s"
    assert figures["time in all"] == "2 min 05 s"


def test_road_page_of_nothing_says_what_is_left_out(tmp_path):
    index, figures = report.write_road_page(tmp_path / "page", vqvae=tmp_path / "nowhere")
    text, _ = check_page(index)
    assert text.count("Left out") >= 8
    assert figures == []


def test_road_page_survives_half_of_a_run(tmp_path):
    samples = make_samples(tmp_path / "samples", levels=((2, 1),))
    vqvae = make_run(tmp_path / "vqvae", "level_1/spectral_convergence", [0.9, 0.7], None)
    (vqvae / "summary.json").unlink()
    (tmp_path / "prior").mkdir()
    write_json(tmp_path / "audio/dataset.json", {"splits": {"train": {"tracks": [{}, 3]}}})
    write_json(tmp_path / "codes/dataset.json", {"splits": 3})
    (tmp_path / "timings.json").write_text("[1, 2]")
    index, figures = report.write_road_page(
        tmp_path / "page",
        audio=tmp_path / "audio",
        codes=tmp_path / "codes",
        vqvae=vqvae,
        priors=[tmp_path / "prior"],
        samples=samples,
        timings=tmp_path / "timings.json",
    )
    said = words_of(check_page(index)[0])
    assert "1, middle 0.7000" in said
    assert "no control with a frozen codebook was trained" in said
    assert "Left out: no prior has held-out figures yet." in said
    assert "Left out: this part cannot be read (ValueError" in said  # the codes
    assert "train the VQ-VAE 4.0 s" in said
    assert dict(figures)["tracks heard"] == "1 (0 kept for testing)"


def test_codes_are_counted_in_the_samples_where_there_is_no_data_set(tmp_path):
    samples = make_samples(tmp_path / "samples", levels=((2,),))
    index, _ = report.write_road_page(tmp_path / "page", samples=samples)
    said = words_of(check_page(index)[0])
    assert "2, coarsest 2 of 2 100.0 % 1.00 bits 2" in said
    assert "1, middle 1 of 1 100.0 % 0.00 bits 1" in said
    assert "Counted in the generated tracks" in said


def test_a_level_worse_than_the_control_is_not_sold_as_better(tmp_path):
    runs = [
        make_run(tmp_path / name, "loss", [1.0], {"level_0/spectral_convergence": value})
        for name, value in (("vqvae", 0.6), ("control", 0.5))
    ]
    index, figures = report.write_road_page(tmp_path / "page", vqvae=runs[0], control=runs[1])
    assert "0.6000 0.5000 20.0 % higher" in words_of(index.read_text("utf-8"))
    assert "20.0\u00a0% above a frozen codebook" in dict(figures)["spectral convergence, level 0"]


def test_runs_read_what_is_there(tmp_path):
    run = Run.read(make_run(tmp_path / "run", "loss", [3.0, float("nan"), 1.0], {"loss": 0.5}))
    assert run.series("loss", "train") == ([1, 3], [3.0, 1.0])
    assert (run.heldout("loss"), run.steps, run.seconds) == (0.5, 3, 61)
    nothing = Run.read(tmp_path)
    assert (nothing.heldout("loss"), nothing.steps, nothing.seconds) == (None, None, None)
    assert len(Corpus.read(tmp_path)) == 0


def test_every_text_and_attribute_is_escaped():
    made = page.tag("p", EVIL, ["<i>", page.tag("b", "<")], title='"><x>', hidden=None)
    assert made == (
        '<p title="&quot;&gt;&lt;x&gt;">&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; '
        "Söhne&lt;i&gt;<b>&lt;</b></p>"
    )
    assert 'src="a%20b/%23%3F.wav"' in page.player("a b/#?.wav", "x")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (59.6, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (36_000, "10 h 00 min"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, said):
    assert page.duration(seconds).replace("\u00a0", " ") == said
