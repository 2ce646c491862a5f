import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from jukejax.pages import pictures


def sine(hz, seconds=1.0, amplitude=1.0, sample_rate=44_100):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * sample_rate)) / sample_rate)


def check_pictures(path):
    for file in (path, pictures.dark_path(path)):
        image = imread(file)
        assert image.shape[:2] == (pictures.HEIGHT, pictures.WIDTH)
        assert image[..., :3].std() > 0.02
    light, dark = imread(path), imread(pictures.dark_path(path))
    assert light[0, 0, :3].min() > 0.9
    assert dark[0, 0, :3].max() < 0.2


def test_mel_pictures_share_one_scale_so_quieter_is_darker(tmp_path):
    noise = np.random.default_rng(0).normal(size=44_100) * 0.2
    for name, audio in (("loud", noise), ("quiet", noise / 30)):
        pictures.write_mel_picture(audio, tmp_path / f"{name}.png", "A $title$ with_signs")
        check_pictures(tmp_path / f"{name}.png")
    middle = np.s_[200:350, 250:650, :3]
    loud, quiet = imread(tmp_path / "loud.png"), imread(tmp_path / "quiet.png")
    assert loud[middle].mean() > quiet[middle].mean() + 0.1


def test_equal_pictures_have_equal_bytes_and_no_temporary_file_remains(tmp_path):
    counts = np.arange(64)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pictures.write_codebook_picture(counts, tmp_path / name / "a.png", "Level 2")
        check_pictures(tmp_path / name / "a.png")
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["a.dark.png", "a.png"]
    assert (tmp_path / "one/a.png").read_bytes() == (tmp_path / "two/a.png").read_bytes()


def test_curves_tolerate_single_points_and_nan(tmp_path):
    curves = [
        pictures.Curve("train", [1, 2, 3], [2.0, float("nan"), 1.0], faint=True),
        pictures.Curve("held out", [3], [1.5], color=2),
        pictures.Curve("nothing", [], []),
    ]
    for log_y in (False, True):
        pictures.write_curve_picture(
            curves,
            tmp_path / "c.png",
            "Loss",
            x_label="step",
            y_label="loss",
            lines={"entropy": 3.0},
            log_y=log_y,
        )
        check_pictures(tmp_path / "c.png")


def test_the_first_steps_do_not_flatten_the_rest():
    y = np.concatenate([np.full(50, 1000.0), np.full(950, 2.0)])
    curve = pictures.Curve("loss", np.arange(1000), y)
    low, high = pictures._vertical_range([curve], [2.5], log_y=False)
    assert 1.5 < low < 2.0
    assert 2.5 < high < 3.0


def test_pictures_without_data_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'Loss' has no points"):
        pictures.write_curve_picture([], tmp_path / "c.png", "Loss", x_label="", y_label="")
    with pytest.raises(ValueError, match="at least one code"):
        pictures.write_codebook_picture(np.zeros(8), tmp_path / "c.png", "Level 0")


def test_drawing_does_not_import_pyplot(tmp_path):
    code = (
        "import sys, numpy as np; from jukejax.pages import pictures;"
        "assert 'matplotlib' not in sys.modules;"
        f"pictures.write_codebook_picture(np.ones(4), {str(tmp_path / 'a.png')!r}, 'x');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
