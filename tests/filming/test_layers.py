"""Parts of a frame: colors, places, text, codes, pages."""

import itertools

import av
import numpy as np
import pytest
from PIL import Image

from jukejax.data.grid import Grid
from jukejax.filming import images, style
from jukejax.filming.lattice import HEAD, LatticeRow, color_codes
from jukejax.filming.layout import FORMS, find_size, make_layout
from jukejax.filming.lettering import Lettering, clean_text
from jukejax.filming.mel_panel import plan_pages
from jukejax.filming.planes import Rect, convert_colors, make_picture
from jukejax.filming.timeline import count_frames, make_timeline
from tests.support.small_take import BPM, DOWNBEAT, RATE, make_kicks

FPS = 30


@pytest.fixture(scope="module")
def timeline():
    return make_timeline(make_kicks(), RATE, Grid(BPM, DOWNBEAT * RATE), FPS)


def test_colors_are_those_of_ffmpeg():
    rgb = np.random.default_rng(0).integers(0, 256, (32, 1, 1, 3), np.uint8)
    for color in rgb:
        frame = av.VideoFrame.from_ndarray(np.tile(color, (16, 16, 1)), format="rgb24")
        converted = frame.reformat(format="yuv444p", dst_colorspace="ITU709").to_ndarray()
        ours = convert_colors(color[0, 0]).astype(int)
        assert np.abs(converted[:, 8, 8].astype(int) - ours).max() <= 2


def test_colors_are_blended_by_coverage():
    picture = make_picture(4, 2, (100, 50, 200))
    picture.blend((200, 150, 0), np.array([[0, 0, 255, 255], [0, 0, 255, 255]], np.uint8))
    assert picture.y.tolist() == [[100, 100, 200, 200]] * 2
    assert (picture.u.tolist(), picture.v.tolist()) == ([[50, 150]], [[200, 0]])
    picture.blend((0, 0, 0), np.full((2, 4), 128, np.uint8))
    assert np.abs(picture.y.astype(int) - [50, 50, 100, 100]).max() <= 1


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("form", "height"),
    [(form, height) for form in FORMS for height in (None, 160, 202, 720)],
)
def test_parts_are_apart_and_inside_the_picture(form, height, levels):
    width, height = find_size(form, height)
    layout = make_layout(form, (width, height), levels)
    assert len(layout.lattice) == levels
    parts = [layout.stage, *layout.lattice, layout.mel, layout.ticks]
    for rect in (*parts, layout.shape, layout.text):
        assert not any(value % 2 for value in rect)
        assert rect.x >= 0 <= rect.y
        assert min(rect.width, rect.height) >= 2
        assert rect.x + rect.width <= width
        assert rect.y + rect.height <= height
    for upper, lower in itertools.pairwise(parts):
        assert upper.y + upper.height <= lower.y
    assert layout.shape.y + layout.shape.height <= layout.stage.height


@pytest.mark.parametrize(("form", "height"), [("wide", 91), ("wide", 20), ("upright", 5000)])
def test_sizes_that_cannot_be_encoded_are_refused(form, height):
    with pytest.raises(ValueError, match=f"--height={height} must be an even"):
        find_size(form, height)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\x00b\n\tc\x1b[31m", "a b c [31m"),
        ("\u202eright\u200b\u2066to left", "right to left"),
        ("e" + "\u0301" * 50, "é\u0301\u0301"),
        ("\ud800x", "x"),
        ("  ", ""),
        ("Ω" * 999, "Ω" * 200),
    ],
)
def test_text_is_cleaned(text, cleaned):
    assert clean_text(text) == cleaned


def test_text_is_cut_to_its_width():
    lettering = Lettering()
    whole = lettering.draw("Title", 20, 400)
    assert whole.any()
    assert whole.shape[1] < 100
    for text in ("W" * 200, "Title " * 9, "W"):
        mask = lettering.draw(text, 20, 90)
        assert mask.shape[1] <= 90
        assert not any(side % 2 for side in mask.shape)
    assert not lettering.draw("", 20, 90).any()
    assert lettering.find_missing("abc 漢字 漢") == "字漢"


def test_a_sound_has_frames_up_to_its_end():
    assert [count_frames(s, 30) for s in (0.001, 1.0, 1.0001, 1.05)] == [1, 30, 31, 32]


def test_kicks_are_on_the_beats(timeline):
    rises = np.flatnonzero(np.diff(timeline.kick) > 0.3) / FPS
    beats = DOWNBEAT + np.arange(5) * 60 / BPM
    assert len(rises) == len(beats)
    assert np.abs(rises - beats).max() < 0.06


def test_a_sound_without_a_grid_has_no_flashes():
    plain = make_timeline(make_kicks(0.5), RATE, Grid(), FPS)
    assert plain.beats is None
    assert not plain.flash.any()


@pytest.mark.parametrize("sound", [np.zeros((4410, 2), np.float32), make_kicks(0.004)])
def test_silent_and_short_sounds_have_features(sound):
    features = make_timeline(sound, RATE, Grid(), FPS)
    for values in (features.mel, features.spectrum, features.kick):
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert values.max() <= 1


def test_pages_are_whole_bars():
    track = make_timeline(make_kicks(30.0), RATE, Grid(120.0, 0.5 * RATE), FPS)  # bars of 2 s
    pages = plan_pages(track, 8.0)
    assert [page.start for page in pages] == [-1.5, 6.5, 14.5, 22.5]
    assert pages[-1].stop == 30.5
    (page,) = plan_pages(track, 20.0)
    assert page == (0.0, 30.0)


def test_the_codes_at_the_playhead_are_those_that_sound():
    rate, cell, step = 344.5, 8, 8
    change = 300  # code at which the color changes
    codes = np.repeat(np.array([0, 1]), [change, 700])
    colors = np.array([[50, 100, 100], [200, 150, 150]], np.uint8)
    rect = Rect(0, 0, 800, 92)
    row = LatticeRow(rect, codes, colors, rate, cell, step, FPS)
    canvas, head = make_picture(800, 92), int(800 * HEAD)
    for frame in (20, 25, 28, 40):
        row.draw(canvas, frame)
        line = canvas.y[: 92 // 12 - 1, head - 100 : head].max(axis=0).astype(int)
        expected = head - ((frame + 0.5) / FPS - change / rate) * step * FPS  # column of the change
        bright = np.flatnonzero(line > 120) + head - 100
        if expected >= head:
            assert not len(bright)
        else:
            late = bright[0] - max(expected, head - 100)
            assert -1 < late <= cell + 1  # a column and the gap beside it


def test_every_code_of_a_level_is_drawn():
    row = LatticeRow(Rect(0, 0, 800, 92), np.arange(4000), np.zeros((4000, 3)), 344.5, 8, 8, FPS)
    per_column = 344.5 * 8 / 240
    starts = np.arange(100) * per_column
    shown = np.floor(starts[None, :] + row._places[:, None]).astype(int)
    assert set(range(int(99 * per_column))) <= set(shown.ravel().tolist())


def test_the_color_of_a_code_is_that_of_its_sound(timeline):
    times = np.arange(600) / 300
    is_kick = (times - DOWNBEAT) % (60 / BPM) < 0.15
    codes = np.where(is_kick, 0, 1).astype(np.int32)
    kick, noise = color_codes(codes, 300.0, timeline).astype(int)
    panel = style.PANEL[2]  # V: below it the color is bluer, above it redder
    assert kick[2] < panel < noise[2]  # dull, bright
    assert kick[0] > noise[0]  # loud, soft


def test_images_of_a_folder_are_sorted_and_checked(tmp_path):
    for name in ("b.png", "a.jpg", ".hidden.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert [path.name for path in images.find_images(str(tmp_path))] == ["a.jpg", "b.png"]
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "c.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"c\.png cannot be read as an image"):
        images.find_images(str(tmp_path))


def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path):
    Image.new("1", (11_000, 11_000)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="11000 x 11000 pixels; at most 100 million"):
        images.find_images(str(tmp_path / "a.png"))


def test_transparent_images_are_black(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    loaded = images._load_image(tmp_path / "a.png")
    assert np.asarray(loaded).max() == 0
