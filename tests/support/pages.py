"""Folders of runs without music or models, and checks of the pages about them."""

import html
import json
import os
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

from jukejax.common import files
from jukejax.data import audio, corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.pages import pictures

EVIL = '<script>alert("x")</script> & Söhne'


def write_json(path: Path, content: object) -> None:
    """Writes a JSON file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, content)


def tone(seconds: float = 0.2) -> np.ndarray:
    """Returns a sine of 440 Hz, float32 [time, 1]."""
    time = np.arange(int(seconds * 44_100)) / 44_100
    return (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)[:, None]


def write_sketch(
    draw: pictures.Draw, path: str | os.PathLike, title: str, box: pictures.Box | None = None
) -> None:
    """Replaces `pictures.write_picture`: draws, but writes noise instead of rendering for 1 s."""
    del title
    size = (pictures.WIDTH / pictures._DPI, pictures.HEIGHT / pictures._DPI)
    figure = Figure(figsize=size, dpi=pictures._DPI)
    draw(figure, figure.add_subplot(), pictures._THEMES[0])
    noise = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
    for target in (Path(path), pictures.dark_path(path)):
        imsave(target, noise)


def write_samples(folder: Path, levels: Sequence[Sequence[int]] = ((2, 1, 0), (2,))) -> Path:
    """Writes a sample folder; `levels`: of each item."""
    for i, item_levels in enumerate(levels):
        item = folder / f"item_{i:03d}"
        item.mkdir(parents=True)
        for level in item_levels:
            audio.write_wav(item / f"level_{level}.wav", tone())
        np.savez(item / "codes.npz", level_2=np.arange(4) % 2, level_1=np.zeros(16, np.int32))
        meta = {
            "seed": 71 + i,
            "artist": EVIL,
            "genre": "deep house",
            "mode": "primed",
            "seconds": 6.5,
            "temperature": [0.9, 0.95, 1.0],
            "top_k": {"level_2": 0, "level_1": 0, "level_0": 0},
            "top_p": {"level_2": 0.98, "level_1": 0, "level_0": 0},
            "min_p": {"level_2": 0.02, "level_1": 0, "level_0": 0},
            "prompt_seconds": 1.5,
            "timings": {"level_2": 4.0, "level_1": 16.0, "level_0": 60.0},
            "seconds_per_second_of_audio": 12.3,
            "gain": {"level_0": 0.5, "level_1": 1.0},
        }
        files.write_json(item / "meta.json", meta)
    files.write_json(folder / "settings.json", {"num_samples": len(levels)})
    return folder


def write_run(folder: Path, key: str, values: Sequence[float], heldout: dict | None) -> Path:
    """Writes the working folder of a training that logged `values` of `key`."""
    folder.mkdir(parents=True)
    with (folder / "metrics.jsonl").open("w") as file:
        for step, value in enumerate(values, start=1):
            for split in ("train", "heldout"):
                entry = {"step": step, "split": split, "seconds": 2.0 * step, key: value}
                if key == "loss":
                    entry["level_0/spectral_convergence"] = value / 10
                file.write(json.dumps(entry) + "\n")
        file.write('{"step": 99, "spl')  # what a killed run leaves
    files.write_json(
        folder / "summary.json", {"steps": len(values), "seconds": 61, "heldout": heldout}
    )
    return folder


def write_datasets(root: Path) -> None:
    """Writes the data sets audio and codes with three tracks each."""
    vocabulary = Vocabulary(("unknown",), ("unknown",))
    with (
        DatasetWriter(
            root / "audio", kind="audio", vocabulary=vocabulary, separator="repet"
        ) as music,
        DatasetWriter(
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


class Links(HTMLParser):
    """Collects the links of a page, and checks that its tags nest."""

    def __init__(self, text: str):
        super().__init__()
        self.targets, self.images, self.sounds, self.open, self.scripts = [], [], [], [], 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        attributes = dict(attrs)
        self.targets += [attributes[key] for key in ("src", "href", "srcset") if key in attributes]
        if tag == "img":
            self.images.append(attributes)
        if tag == "audio":
            self.sounds.append(attributes)
        self.scripts += tag == "script"
        if tag not in ("img", "source", "meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(index: Path) -> tuple[str, Links]:
    """Checks that all links of a page lead somewhere and that text is escaped."""
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


def read_words(text: str) -> str:
    """Returns the text of markup, with single spaces."""
    plain = html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("\u00a0", " ")
    return " ".join(plain.split())
