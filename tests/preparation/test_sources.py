"""Search for sound files."""

from jukejax.preparation import sources


def test_sources_are_sorted_and_hidden_files_are_ignored(tmp_path):
    (tmp_path / "sub" / ".hidden").mkdir(parents=True)
    names = ("two.flac", "sub/three.ogg", "four.MP3", "labels.csv", "cover.jpg")
    for name in (*names, "sub/.hidden/no.wav", ".no.wav"):
        (tmp_path / name).touch()
    found, ignored = sources.find_files(tmp_path)
    assert [source.name for source in found] == ["four.MP3", "sub/three.ogg", "two.flac"]
    assert [source.path for source in found] == [str(tmp_path / s.name) for s in found]
    assert ignored == {".csv": 1, ".jpg": 1}
