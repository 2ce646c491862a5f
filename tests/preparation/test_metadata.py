"""Metadata files."""

import pytest

from jukejax.preparation.metadata import TrackLabels, read_metadata


def test_metadata_is_read_with_lines_in_lyrics_and_other_systems_paths(tmp_path):
    text = (
        'File, Artist,genre,lyrics\r\nsub\\a.wav,"Heard, L.",dub; house,"la\nla"\r\n./b.wav,,,\r\n'
    )
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_metadata(tmp_path / "m.csv") == {
        "sub/a.wav": TrackLabels("Heard, L.", "dub; house"),
        "b.wav": TrackLabels(),
    }
    (tmp_path / "m.csv").write_text("name,artist\n")
    with pytest.raises(ValueError, match=r"columns name,artist; its first line must name file"):
        read_metadata(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes("file,artist\nä,b\n".encode("latin-1"))
    with pytest.raises(ValueError, match="save it as UTF-8"):
        read_metadata(tmp_path / "m.csv")
