"""The shipped model is taken by its name."""

import pytest
from absl import flags

from jukejax.weights import shipped


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Returns the folder of a shipped model, which has no weights."""
    folder = tmp_path / "assets" / "house"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return folder


def read_flag(*argv):
    values = flags.FlagValues()
    model = shipped.define_model_flag("model", "a model", values)
    values(["command", *argv])
    return model.value


def test_a_flag_takes_the_name_or_a_folder(folder):
    assert read_flag() is None
    assert read_flag("--model=house") == str(folder)
    assert read_flag("--model=./house") == "./house"
    assert read_flag("--model=runs/mine") == "runs/mine"


def test_a_missing_model_is_named(folder):
    (folder / "model.json").unlink()
    with pytest.raises(flags.IllegalFlagValueError, match="no bundle is shipped as 'house'"):
        read_flag("--model=house")
