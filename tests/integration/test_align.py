"""`align` from its flags to its page."""

import json

import pytest

from jukejax import align
from tests.support import sung_bundle
from tests.support.pages import check_page


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("align")
    sung_bundle.write_bundle(folder / "model", "separate")
    sung_bundle.write_codes(folder / "codes")
    return folder


def run(*flags):
    align.FLAGS.unparse_flags()
    for name in align.FLAGS:
        align.FLAGS[name].unparse()
    align.FLAGS(["align", *flags])
    return align.main()


def test_code_shards_are_aligned_by_a_head_of_the_separate_form(place, tmp_path, capsys):
    flags = [f"--model={place / 'model'}", f"--input={place / 'codes'}", f"--output={tmp_path}"]
    assert run(*flags, f"--heldout={place / 'codes'}", "--windows=4", "--songs=1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("layer ")
    assert "monotonicity" in lines[0]
    assert "of 2 words whose time is known 100.0% begin within 0.3 s of it" in lines[-2]
    assert lines[-1] == f"1 song: {tmp_path / 'index.html'}"
    check_page(tmp_path / "index.html")
    table = json.loads((tmp_path / "song_000_h0/alignment.json").read_text())
    assert table["layer"] in (3, 7)
    assert run(*flags, "--layer=3", "--head=1", "--songs=1") == 0
    assert "attention of layer 3, head 1" in capsys.readouterr().out
    table = json.loads((tmp_path / "song_000_h0/alignment.json").read_text())
    assert (table["layer"], table["head"], table["monotonicity"]) == (3, 1, None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--model and --input are needed"),
        (["--model=m"], "--model and --input are needed"),
        (["--model=m", "--input=x"], "--output is needed: --input=x is no sample folder"),
        (["--model=m", "--input=x", "--hop_fraction=2"], "--hop_fraction=2.0 must be above 0"),
        (["--model=m", "--input=x", "--windows=0"], "--windows=0 must be 1 or more"),
        (["--model=m", "--input=x", "--layer=3"], "--layer and --head need each other"),
    ],
)
def test_bad_flags_are_reported_in_one_line(flags, message):
    with pytest.raises(ValueError, match=message) as error:
        run(*flags)
    assert "\n" not in str(error.value)
