"""Exit codes and messages, through real processes."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.support import small_audio, small_bundle
from tests.support.command import run_in_process

PROGRAM = """
    '''Shows how a verb ends.'''
    import sys, time
    from absl import flags
    from jukejax import cli
    FLAGS = flags.FlagValues()
    _HOW = flags.DEFINE_string("how", "well", "how to end", flag_values=FLAGS)
    _MANY = flags.DEFINE_integer("many", 1, "seconds of audio", flag_values=FLAGS)
    _FROM = flags.DEFINE_string("from", "", "a file", flag_values=FLAGS)
    _SOME = flags.DEFINE_list("some", [], "files", flag_values=FLAGS)

    def main():
        match _HOW.value:
            case "value": raise ValueError("the width is 3;\\n   make it even")
            case "os": open("/nowhere/at/all")
            case "home": print(_FROM.value, *_SOME.value)
            case "from": open(_FROM.value + "/more")
            case "bug": raise KeyError("ours")
            case "code": return 3
            case "empty": raise ValueError
            case "wait":
                print("ready", flush=True)
                time.sleep(60)

    if __name__ == "__main__":
        cli.run(main, __doc__, FLAGS)
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return str(path)


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--how=value"], "error: the width is 3; make it even"),
        (["--how=os"], "error: /nowhere/at/all: No such file or directory"),
        (
            ["--how=from", "--from=/dev/null"],
            "error: --from=/dev/null cannot be used: /dev/null/more: Not a directory; take another",
        ),
        (["--how=empty"], "error: ValueError"),
        (["--hwo=value"], "hwo"),
        (["--many=few"], "few"),
        (["stray"], "error: unexpected argument 'stray'; flags are written --name=value"),
    ],
    ids=str,
)
def test_bad_usage_and_bad_input_end_with_2_and_one_line(program, arguments, says):
    ended = run(program, *arguments)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert says in ended.stderr


def test_the_home_folder_is_written_out_wherever_a_shell_leaves_it(program):
    done = run(program, "--how=home", "--from=~/a b", "--some=~,c~,~/d", HOME="/home/me")
    assert done.stdout == "/home/me/a b /home/me c~ /home/me/d\n"


def test_other_endings(program):
    assert run(program).returncode == 0
    assert run(program, "--how=code").returncode == 3
    bug = run(program, "--how=bug")
    assert bug.returncode == 1
    assert "Traceback" in bug.stderr


def test_a_traceback_can_be_asked_for(program):
    ended = run(program, "--how=value", JUKEJAX_TRACEBACK="1")
    assert "Traceback" in ended.stderr
    assert "make it even" in ended.stderr


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_have_their_own_codes(program, stop, code):
    command = [sys.executable, program, "--how=wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(stop)
        _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert b"Traceback" not in error


def test_help_lists_the_verbs_own_flags_and_what_it_is_for(program):
    ended = run(program, "--help")
    assert ended.returncode == 0
    for words in ("Shows how a verb ends.", "--how", "how to end", "--many", "seconds of audio"):
        assert words in ended.stdout
    assert "--alsologtostderr" not in ended.stdout


JUKEJAX = ("-c", "from jukejax import cli; cli.main()")


def test_an_unknown_verb_is_named_with_the_known_ones():
    ended = run(*JUKEJAX, "smaple")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "unknown verb 'smaple'; known: prepare, train" in ended.stderr


def test_the_bare_command_lists_every_verb():
    from jukejax.cli import VERBS

    for arguments, code in (((), 2), (("--help",), 0)):
        ended = run(*JUKEJAX, *arguments)
        assert ended.returncode == code
        for verb in VERBS:
            assert f"  {verb}" in ended.stdout


def test_pipes_are_refused_at_once(tmp_path):
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    bundle = small_bundle.write(tmp_path / "model", lyrics="none", levels=(2,))
    audio = small_audio.write_audio(tmp_path / "audio", {"train": [3]})
    output = f"--output={tmp_path / 'out'}"
    sample = ("sample", f"--model={bundle}", output)
    for command in (
        (*sample, "--mode=primed", f"--prompt={pipe}"),
        (*sample, "--mode=continue", f"--codes={pipe}"),
        ("audit", f"--input={pipe}", f"--training={audio}", output),
        ("audit", f"--input={tmp_path}", f"--training={audio}", output),
        ("evaluate", f"--input={pipe}", output),
        ("prepare", f"--input={tmp_path}", output, f"--metadata={pipe}"),
    ):
        done = run_in_process(*command, code=2)
        assert "pipe" in done.stderr.splitlines()[-1], command
