"""The page of a sample folder."""

from jukejax.common import files
from jukejax.data import audio
from jukejax.pages import pictures, report
from tests.support.pages import (
    EVIL,
    check_page,
    read_words,
    tone,
    write_samples,
    write_sketch,
)


def test_the_sample_page_has_a_player_for_every_level_and_all_settings(tmp_path):
    index = report.write_sample_page(write_samples(tmp_path / "my samples #1"))
    text, links = check_page(index)
    assert [sound["src"] for sound in links.sounds] == [
        "item_000/level_0.wav",
        "item_000/level_1.wav",
        "item_000/level_2.wav",
        "item_001/level_2.wav",
    ]
    words = read_words(text)
    for fact in (
        f"Track 1 · {EVIL} · deep house",
        "seed 71",
        "mode primed",
        "length 6.5 s",
        "temperature 2, 1, 0 1.0, 0.95, 0.9",
        "top p 2, 1, 0 0.98, 0, 0",
        "prompt (given, not generated) 1.5 s",
        "Level 0 exceeded the range of the file format and was attenuated "
        "to 50 % (−6.0 dB); no sample was clipped.",
        "Unfinished: level 1 and level 0 are missing",
    ):
        assert fact in words
    assert "Level 1 exceeded" not in words
    assert "top k" not in words
    assert "computed in" not in words  # the page of the same command is the same
    assert (tmp_path / "my samples #1/item_000/level_0.dark.png").exists()


def test_takes_of_a_track_are_linked_if_they_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "write_picture", write_sketch)
    folder = write_samples(tmp_path / "s", levels=((2,),))
    (tmp_path / "outside.flac").write_bytes(b"x" * 200)
    names = ["take_000_F#m.flac", "../outside.flac", "missing.mid", 7, EVIL]
    (folder / names[0]).write_bytes(b"x" * 200)
    meta = files.read_json(folder / "item_000/meta.json") | {
        "takes": {"a": {"files": names}, "b": 3}
    }
    files.write_json(folder / "item_000/meta.json", meta)
    _, links = check_page(report.write_sample_page(folder))
    assert [target for target in links.targets if "take" in target] == ["take_000_F%23m.flac"]
    assert not any("outside" in target for target in links.targets)


def test_only_pictures_of_changed_sounds_are_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "write_picture", write_sketch)
    folder = write_samples(tmp_path / "s", levels=((2, 1),))
    report.write_sample_page(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert len(before) == 4
    audio.write_wav(folder / "item_000/level_1.wav", tone(0.4))
    report.write_sample_page(folder)
    changed = {path.name for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed == {"level_1.png", "level_1.dark.png"}


def test_empty_and_damaged_items_do_not_stop_the_sample_page(tmp_path):
    folder = tmp_path / "s"
    text, _ = check_page(report.write_sample_page(folder))
    assert "No track is finished yet." in text
    write_samples(folder, levels=((2,),))
    (folder / "item_000/level_1.wav").write_bytes(b"not a sound")
    (folder / "item_000/meta.json").write_text('{"seed": 1,')
    (folder / "item_001").mkdir()
    text, links = check_page(report.write_sample_page(folder))
    assert "level_1.wav cannot be played" in text
    assert len(links.sounds) == 1
