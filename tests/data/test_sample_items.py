"""Readers of the tracks of a sample folder."""

import numpy as np
import pytest

from jukejax.data.sample_items import read_item_codes, read_items
from tests.support.pages import write_samples


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "File is not a zip file"),
        (lambda path: np.savez(path, level_2=np.zeros(4)), "level_2 is float64 [4], not a list"),
        (lambda path: np.savez(path, level_2=np.array([-7])), "level_2 holds -7, and codes are 0"),
    ],
    ids=["cut", "type", "value"],
)
def test_damaged_codes_of_a_sample_are_left_out_with_one_line(tmp_path, capsys, damage, message):
    write_samples(tmp_path)
    damaged = tmp_path / "item_000" / "codes.npz"
    damage(damaged)
    (codes,) = read_item_codes(read_items(tmp_path))
    np.testing.assert_array_equal(codes[2], np.arange(4) % 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{damaged} cannot be read as the codes.npz of a sample: {message}" in line
    assert line.endswith("its codes are left out")
