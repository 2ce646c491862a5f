"""Alignment of songs, generated tracks and code shards with their lyrics."""

import json

import numpy as np
import pytest

from jukejax.data.lrc import parse_lrc
from jukejax.evaluation.heldout_bits import measure_heldout_bits
from jukejax.inference.align import list_lyric_layers
from jukejax.inference.loaded_model import Model
from jukejax.pages import report
from jukejax.sampling.lyric_alignment import Aligner, align_items, describe_errors
from jukejax.sampling.songs import open_songs
from tests.support import small_bundle, sung_bundle
from tests.support.pages import check_page, read_words
from tests.support.small_sample import sample


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sung")
    sung_bundle.write_bundle(folder / "model")
    sung_bundle.write_codes(folder / "codes")
    return folder


@pytest.fixture(scope="module")
def model(place):
    return Model(place / "model")


@pytest.fixture(scope="module")
def aligned(place, model):
    aligner = Aligner(model)
    assert not aligner.name_head()
    heads = aligner.find_head(aligner.open_heldout_windows(place / "codes", 4))
    songs = list(open_songs(model, 2, place / "codes"))
    results = [aligner.align(song, place / "out") for song in songs]
    return aligner, heads, results


def test_the_head_that_reads_in_order_is_found_on_held_out_tracks(aligned):
    aligner, heads, _ = aligned
    assert {(head.layer, head.head) for head in heads} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    values = [head.monotonicity for head in heads]
    assert values == sorted(values, reverse=True)
    assert aligner.head == heads[0]


def test_every_word_has_its_times_in_json_and_lrc(place, aligned):
    _, _, results = aligned
    assert [result.song.name for result in results] == ["song_000_h0", "song_001_h1"]
    folder = place / "out/song_000_h0"
    table = json.loads((folder / "alignment.json").read_text())
    assert [word["word"] for word in table["words"]] == sung_bundle.TEXTS[0].split()
    assert table["lines"] == [3, 3]
    starts = [word["start"] for word in table["words"]]
    assert starts == sorted(starts)
    assert (
        table["words"][-1]["end"] <= table["seconds"] == pytest.approx(150 * 128 / 44100, abs=1e-3)
    )
    timed = parse_lrc((folder / "alignment.lrc").read_text())
    assert timed.text == sung_bundle.TEXTS[0]
    np.testing.assert_allclose([time for _, time in timed.times], starts, atol=0.006)
    with np.load(folder / "alignment.npz") as arrays:
        assert arrays["attention"].shape == (150, len(sung_bundle.TEXTS[0]))
    errors = [abs(table["words"][0]["start"] - 0.05), abs(table["words"][1]["start"] - 0.2)]
    assert table["errors"]["words"] == 2
    assert table["errors"]["median"] == pytest.approx(np.mean(errors), abs=1e-3)
    assert describe_errors(results).startswith("of 4 words whose time is known 100.0% begin within")


def test_the_page_has_the_words_with_their_times(place, aligned):
    text, links = check_page(report.write_alignment_page(place / "out"))
    assert text.count("data-start=") == 12
    assert [image["src"] for image in links.images] == [
        f"song_00{number}_h{number}/alignment.png" for number in range(2)
    ]
    assert "2 words whose time is known" in read_words(text)
    assert "timeupdate" in text


def test_generated_tracks_are_aligned_where_the_model_names_the_head(tmp_path, model):
    named = Model(
        sung_bundle.write_bundle(tmp_path / "m", alignment_layer=1, alignment_head=0), None
    )
    out = tmp_path / "out"
    sample(named, out, levels=(2,), lyrics="la li\nlo", items=range(2))
    for item in ("item_000", "item_001"):
        table = json.loads((out / item / "alignment.json").read_text())
        assert (table["layer"], table["head"]) == (1, 0)
        assert [word["word"] for word in table["words"]] == ["la", "li", "lo"]
    text, _ = check_page(out / "index.html")
    assert text.count("data-start=") == 6
    before = (out / "item_000/alignment.json").stat().st_mtime_ns
    align_items(named, out, [out / "item_000", out / "item_001"])  # only what is missing
    assert (out / "item_000/alignment.json").stat().st_mtime_ns == before
    songs = list(open_songs(model, 2, out))
    assert [song.text for song in songs] == ["la li\nlo"] * 2
    assert songs[0].labels.total_samples == pytest.approx(150 * 128, abs=1)


def test_lyrics_beside_a_sound_are_aligned(tmp_path, model):
    from jukejax.data import audio
    from tests.support.pages import tone

    audio.write_wav(tmp_path / "a.wav", tone(0.5))
    audio.write_wav(tmp_path / "b.wav", tone(0.5))
    (tmp_path / "a.lrc").write_text("[00:00.10]la la")
    (song,) = open_songs(model, 2, tmp_path)
    assert (song.name, song.text, song.known_times) == ("song_000_a", "la la", ((0, 0.1),))
    assert len(song.codes) == int(0.5 * 44100) // 128
    (tmp_path / "words.txt").write_text("lo lo")
    (song,) = open_songs(model, 2, tmp_path / "b.wav", lyrics_file=str(tmp_path / "words.txt"))
    assert (song.name, song.text) == ("song_001_b", "lo lo")
    with pytest.raises(ValueError, match=r"b.wav has no sound with lyrics; give --lyrics_file"):
        list(open_songs(model, 2, tmp_path / "b.wav"))


def test_what_cannot_be_aligned_is_refused(tmp_path, place, model):
    with pytest.raises(ValueError, match="was made without lyrics"):
        Aligner(Model(small_bundle.write(tmp_path / "m", "none", levels=(2,))))
    with pytest.raises(ValueError, match=r"--layer=2 --head=0 does not attend .* do: 0, 1, heads"):
        Aligner(model).name_head(2, 0)
    with pytest.raises(ValueError, match=r"no train track of --input=.* has lyrics"):
        list(open_songs(model, 2, place / "codes", split="train"))
    with pytest.raises(ValueError, match=r"--input=.*none does not exist"):
        list(open_songs(model, 2, tmp_path / "none"))


def test_separate_lyrics_have_other_layers():
    assert list_lyric_layers(sung_bundle.make_config("separate")) == [3, 7]
    assert list_lyric_layers(sung_bundle.make_config("single")) == [0, 1]


def test_held_out_bits_say_what_the_lyrics_save(place, model):
    figures = measure_heldout_bits(model, place / "codes", 2, max_windows=0)
    assert set(figures) == {"h0", "h1", "h2"}
    assert abs(figures["h0"]["lyric_bits"]) > 0
    assert "lyric_bits" not in figures["h2"]  # it has none
