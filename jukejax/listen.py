"""Makes a blind listening test of two folders of tracks, and counts its answers.

    python -m jukejax.listen --input=out --reference=data/audio --output=blind
    python -m jukejax.listen --output=blind --answers=anna.json,ben.json

The first command writes the page blind/test/index.html, which needs no server: give the folder
blind/test to the listeners, and keep blind/key.json, which says whose the sounds are. All sounds
have the same loudness and length. The page saves the answers of a listener as a JSON file; the
second command prints the preferences of such files with their 95 % intervals.

--input and --reference are folders of sound files, of tracks that sample made (the finest level,
from the end of the prompt), or the output of prepare.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from jukejax import cli
from jukejax.common import files, output_locks
from jukejax.common.formatting import format_count
from jukejax.pages.listening import MODES, QUESTIONS

if TYPE_CHECKING:
    from jukejax.evaluation.listening import Settings
    from jukejax.evaluation.sound_sets import SoundSet

FLAGS = flags.FlagValues()

INPUT = flags.DEFINE_string("input", None, "Tracks to judge: a folder.", flag_values=FLAGS)
REFERENCE = flags.DEFINE_string(
    "reference",
    None,
    "Tracks to compare with: a folder; may be left out with --mode=rating.",
    flag_values=FLAGS,
)
OUTPUT = flags.DEFINE_string("output", None, "Folder of the test.", flag_values=FLAGS)
MODE = flags.DEFINE_enum(
    "mode",
    "ab",
    MODES,
    "ab: which of two tracks is preferred; rating: each track from 1 to 5.",
    flag_values=FLAGS,
)
TRIALS = flags.DEFINE_integer(
    "trials", 20, "Largest number of pairs, or of tracks of each folder.", flag_values=FLAGS
)
SECONDS = flags.DEFINE_float(
    "seconds", 10.0, "Length of a sound, from the middle of its track.", flag_values=FLAGS
)
LUFS = flags.DEFINE_float(
    "lufs",
    -20.0,
    "Loudness of all sounds; all are softer if the peak of one does not allow it.",
    flag_values=FLAGS,
)
QUESTION = flags.DEFINE_string(
    "question",
    None,
    f"Question to the listeners; default: {' or '.join(map(repr, QUESTIONS.values()))}",
    flag_values=FLAGS,
)
SPLIT = flags.DEFINE_enum(
    "split",
    "heldout",
    ["heldout", "train", "all"],
    "Which tracks of a prepared corpus.",
    flag_values=FLAGS,
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the choice of tracks, their order and their sides.", flag_values=FLAGS
)
ANSWERS = flags.DEFINE_list(
    "answers", [], "Files of answers, to be counted, of the test in --output.", flag_values=FLAGS
)


def main() -> int:
    """Writes a test, or prints the result of its answers."""
    if OUTPUT.value is None:
        raise ValueError("--output is needed; see --help")
    output = Path(OUTPUT.value)
    if ANSWERS.value:
        return print_result(output)
    from jukejax.evaluation.listening import make_test

    settings, sets = read_settings(), open_sets()
    with output_locks.lock_file(output / ".lock", output, "listen"):
        index = make_test(sets, settings, output)
    questions = format_count(len(files.read_json(output / "key.json")["trials"]), "question")
    print(f"{questions}: {index.resolve().as_uri()}; keep {output / 'key.json'} to yourself")
    return 0


def print_result(output: Path) -> int:
    """Prints the result of --answers."""
    from jukejax.evaluation.preferences import read_all_answers, summarize_answers

    if INPUT.value or REFERENCE.value:
        raise ValueError("--answers is about the test in --output; remove --input and --reference")
    key = files.read_json(output / "key.json")
    for line in summarize_answers(key, read_all_answers(ANSWERS.value, key)):
        print(line)
    return 0


def read_settings() -> "Settings":
    """Returns the settings of the flags."""
    from jukejax.evaluation.listening import Settings

    return Settings(
        mode=MODE.value,
        question=QUESTION.value or QUESTIONS[MODE.value],
        trials=TRIALS.value,
        seconds=SECONDS.value,
        lufs=LUFS.value,
        seed=SEED.value,
    )


def open_sets() -> "list[SoundSet]":
    """Opens the sounds of --input and --reference."""
    from jukejax.evaluation.sound_sets import open_set

    if INPUT.value is None or (REFERENCE.value is None and MODE.value == "ab"):
        raise ValueError(
            "--input and --reference are needed, two folders of tracks (--mode=rating can do with "
            "--input alone); see --help"
        )
    sets = [open_set(INPUT.value, "input", split=SPLIT.value)]
    if REFERENCE.value is not None:
        sets.append(open_set(REFERENCE.value, "reference", split=SPLIT.value))
    return sets


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
