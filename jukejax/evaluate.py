"""How good tracks are: figures of sound, rhythm and likeness to a reference, and how sure they are.

    python -m jukejax.evaluate --input=samples --reference=data/audio --output=report
    python -m jukejax.evaluate --input=samples --reference=data/audio --model=models/mine \\
        --codes=data/codes --output=report

--input and --reference are folders of sound files, of tracks that sample made, or the output of
prepare (of which --split is taken). Both are measured alike, each figure with its 95 %
interval; beside them stands the floor: what two random halves of the reference differ by, so that a
smaller difference says nothing. With --model also what its VQ-VAE loses, how its codes are used,
whether its windows' joins are heard, and what its priors hear; with --codes what the priors know of
held-out music. OUTPUT gets index.html with pictures, and evaluate.json with every figure. What each
figure means: docs/evaluation.md.
"""

import sys
from collections.abc import Sequence

from absl import flags

from jukejax import cli

FLAGS = flags.FlagValues()

INPUT = flags.DEFINE_string(
    "input", None, "What to measure: a folder of sounds, or one file.", flag_values=FLAGS
)
REFERENCE = flags.DEFINE_string(
    "reference",
    None,
    "What to compare with; without it the figures stand alone.",
    flag_values=FLAGS,
)
OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for index.html, pictures and evaluate.json.", flag_values=FLAGS
)
MODEL = flags.DEFINE_string(
    "model", None, "Model bundle, made by export or convert.", flag_values=FLAGS
)
CODES = flags.DEFINE_string(
    "codes",
    None,
    "Code shards of the model's own VQ-VAE (of encode), for held-out bits per code.",
    flag_values=FLAGS,
)
MUSICNN = flags.DEFINE_string(
    "musicnn",
    None,
    "The wheel musicnn-0.1.0 of PyPI (pip download --no-deps musicnn==0.1.0): compares the sets by "
    "its features too. Not the published FAD.",
    flag_values=FLAGS,
)
PAIRED = flags.DEFINE_bool(
    "paired",
    False,
    "--input holds processed versions of --reference under the same names: measures what was lost.",
    flag_values=FLAGS,
)
SPLIT = flags.DEFINE_enum(
    "split",
    "heldout",
    ["heldout", "train", "all"],
    "Which tracks of a prepared corpus.",
    flag_values=FLAGS,
)
MAX_TRACKS = flags.DEFINE_integer(
    "max_tracks", 0, "At most so many of each set; 0: all.", flag_values=FLAGS
)
SECONDS = flags.DEFINE_float(
    "seconds", 0.0, "So many seconds from each track's middle; 0: all.", flag_values=FLAGS
)
MODEL_SECONDS = flags.DEFINE_float(
    "model_seconds",
    30.0,
    "Seconds of each track that go through the model; 0: all.",
    flag_values=FLAGS,
)
MAX_WINDOWS = flags.DEFINE_integer(
    "max_windows",
    64,
    "Windows of held-out codes for each level, spread over all; 0: all.",
    flag_values=FLAGS,
)
DRAWS = flags.DEFINE_integer("bootstrap", 1000, "Draws behind each interval.", flag_values=FLAGS)
SEED = flags.DEFINE_integer("seed", 0, "Of those draws.", flag_values=FLAGS)


def check_flags() -> None:
    if INPUT.value is None or OUTPUT.value is None:
        raise ValueError("--input and --output are needed; see --help")
    for flag in (MAX_TRACKS, SECONDS, MODEL_SECONDS, MAX_WINDOWS, SEED):
        if flag.value < 0:
            raise ValueError(f"--{flag.name}={flag.value} must be 0 or more")
    if DRAWS.value < 1:
        raise ValueError(f"--bootstrap={DRAWS.value} must be 1 or more")
    for needs, flag in ((MODEL, CODES), (REFERENCE, MUSICNN), (REFERENCE, PAIRED)):
        if flag.value and not needs.value:
            raise ValueError(f"--{flag.name} needs --{needs.name}")


def main() -> int:
    check_flags()
    from jukejax.data import corpus
    from jukejax.evaluation import comparison, sound_sets
    from jukejax.evaluation import model_figures as evaluate_model
    from jukejax.evaluation import page as evaluation_page
    from jukejax.evaluation.run import Evaluation, Settings
    from jukejax.inference.loaded_model import Model
    from jukejax.weights import musicnn

    which = {"limit": MAX_TRACKS.value, "split": SPLIT.value}
    given = sound_sets.open_set(INPUT.value, "input", **which)
    reference = None
    if REFERENCE.value:
        reference = sound_sets.open_set(REFERENCE.value, "reference", **which)
    settings = Settings(
        seconds=SECONDS.value,
        model_seconds=MODEL_SECONDS.value,
        max_windows=MAX_WINDOWS.value,
        draws=DRAWS.value,
        seed=SEED.value,
    )
    # What is wrong with these is said before anything is measured.
    model, weights = None, None
    if MODEL.value:
        model = Model(MODEL.value)
        evaluate_model.check_rate(model.codec)
    if CODES.value:
        evaluate_model.check_codes(model, corpus.open_dataset(CODES.value))
    if MUSICNN.value:
        weights = musicnn.load_weights(MUSICNN.value)
    found = Evaluation(settings, given, reference)
    found.sounds()
    if PAIRED.value:
        found.pairs()
    if model:
        found.model(model)
    if CODES.value:
        found.heldout(model, CODES.value)
    if weights:
        found.by_musicnn(weights)
    for line in comparison.text(found.rows):
        print(line)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    page = evaluation_page.write(OUTPUT.value, found, about(given, reference))
    print(f"Look: {page.resolve().as_uri()}")
    return 0


def about(given, reference) -> dict:
    """What was compared and how, for the JSON and the page."""
    asked = (INPUT, REFERENCE, MODEL, CODES, MUSICNN, PAIRED, SPLIT, MAX_TRACKS, SECONDS)
    asked += (MODEL_SECONDS, MAX_WINDOWS, DRAWS, SEED)
    sets = {
        name: {"path": str(found.path), "kind": found.kind, "tracks": len(found.entries)}
        for name, found in (("input", given), ("reference", reference))
        if found
    }
    return sets | {"settings": {flag.name: flag.value for flag in asked}}


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
