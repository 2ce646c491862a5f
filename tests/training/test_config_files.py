"""Config files are programs: what goes wrong in them is one line with the file and the line."""

import pytest

from jukejax.common import files
from jukejax.training.config_files import find_file, run_file
from tests.support.command import run_in_process


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("def get_config():\n    return width\n", 2, "NameError: name 'width' is not defined"),
        ("\ndef get_config():\n    return None\n", 2, "get_config returns NoneType, but must"),
        ("def get_config():\n    return {}\n", 1, "get_config returns dict, but must"),
        ("x = 1\ny = 2\n", 2, "has no function get_config"),
        ("get_config = 3\n", 1, "has no function get_config"),
        ("def get_config():\n    return (\n", 2, "SyntaxError: '(' was never closed"),
        ("\nimport nowhere_at_all\n", 2, "ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        ("def get_config():\n    open('/no/such')\n", 2, "FileNotFoundError"),
        ("def get_config():\n    raise ValueError('a\\nb')\n", 2, "a b"),
        ("def get_config(a, b):\n    return a\n", 1, "missing 2 required positional arguments"),
    ],
)
def test_errors_of_a_config_file_have_file_and_line(tmp_path, text, line, words):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"mine\.py, line") as caught:
        run_file(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert words in message
    assert "\n" not in message


def test_a_variant_that_a_file_does_not_take_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config():\n    return 1\n")
    with pytest.raises(ValueError, match=r"mine\.py, line 1: TypeError: get_config\(\) takes 0"):
        run_file(f"{path}:small")
    with pytest.raises(ValueError, match="there is no config file"):
        run_file(str(tmp_path / "yours.py"))


@pytest.mark.parametrize("name", ["tiny", "tiny.py", "configs/tiny.py"])
def test_own_configs_are_found_by_name_in_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_file(name) == str(files.REPOSITORY / "configs" / "tiny.py")
    assert run_file(f"{name}:prior") == run_file(f"{files.REPOSITORY}/configs/tiny.py:prior")
    (tmp_path / "tiny").write_text("")  # the user's file comes first
    assert find_file("tiny") == "tiny"


def test_installed_configs_are_found_in_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "REPOSITORY", tmp_path)
    (tmp_path / "jukejax" / "configs").mkdir(parents=True)
    (tmp_path / "jukejax" / "configs" / "mine.py").write_text("")
    assert find_file("mine") == str(tmp_path / "jukejax" / "configs" / "mine.py")
    for missing in ("yours", "elsewhere/mine.py"):
        with pytest.raises(ValueError, match=f"no config file {missing}; give one of mine, or"):
            find_file(missing)


def test_train_ends_with_one_line(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config():\n    return undefined\n")
    done = run_in_process("train", f"--config={path}", "--dry_run", code=2)
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: ")
    assert f"{path}, line 2: NameError" in said
