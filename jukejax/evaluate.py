"""How good tracks are: figures of sound, rhythm and likeness to a reference, and how sure they are.

    python -m jukejax.evaluate --input=samples --reference=data/audio --output=report
    python -m jukejax.evaluate --input=samples --reference=data/audio --model=models/mine \\
        --codes=data/codes --output=report

--input and --reference are folders of sound files, of tracks that sample made, or the output of
prepare (of which the held-out tracks are taken). Both are measured alike, each figure with its 95 %
interval; beside them stands the floor: what two random halves of the reference differ by, so that a
smaller difference says nothing. With --model also what its VQ-VAE loses, how its codes are used,
whether its windows' joins are heard, and what its priors hear; with --codes what the priors know of
held-out music. OUTPUT gets index.html with pictures, and evaluate.json with every figure. What each
figure means: docs/evaluation.md.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from jukejax import cli
from jukejax.progress import track

INPUT = flags.DEFINE_string("input", None, "What to measure: a folder of sounds, or one file.")
REFERENCE = flags.DEFINE_string(
    "reference", None, "What to compare with; without it the figures stand alone."
)
OUTPUT = flags.DEFINE_string("output", None, "Folder for index.html, pictures and evaluate.json.")
MODEL = flags.DEFINE_string("model", None, "Model bundle, made by export or convert.")
CODES = flags.DEFINE_string(
    "codes", None, "Code shards of the model's own VQ-VAE (of encode), for held-out bits per code."
)
MUSICNN = flags.DEFINE_string(
    "musicnn",
    None,
    "The wheel musicnn-0.1.0 of PyPI (pip download --no-deps musicnn==0.1.0): compares the sets by "
    "its features too. Not the published FAD.",
)
PAIRED = flags.DEFINE_bool(
    "paired",
    False,
    "--input holds processed versions of --reference under the same names: measures what was lost.",
)
MAX_TRACKS = flags.DEFINE_integer("max_tracks", 0, "At most so many of each set; 0: all.")
SECONDS = flags.DEFINE_float("seconds", 0.0, "So many seconds from each track's middle; 0: all.")
MODEL_SECONDS = flags.DEFINE_float(
    "model_seconds", 30.0, "Seconds of each track that go through the model; 0: all."
)
MAX_WINDOWS = flags.DEFINE_integer(
    "max_windows", 64, "Windows of held-out codes for each level, spread over all; 0: all."
)
DRAWS = flags.DEFINE_integer("bootstrap", 1000, "Draws behind each interval.")
SEED = flags.DEFINE_integer("seed", 0, "Of those draws.")


@dataclass
class Found:
    """What was measured so far.

    Attributes:
      rows: the table.
      notes: what was left out and why, a line each.
      counts: {level: (input, reference)}, how often each code occurs, int64 [K] or None.
      bits: {level: {track: bits per code}} of held-out codes.
    """

    rows: list
    notes: list[str]
    counts: dict[int, tuple]
    bits: dict[int, dict[str, float]]


def check_flags() -> None:
    if INPUT.value is None or OUTPUT.value is None:
        raise ValueError("--input and --output are needed; see --help")
    for flag in (MAX_TRACKS, SECONDS, MODEL_SECONDS, MAX_WINDOWS):
        if flag.value < 0:
            raise ValueError(f"--{flag.name}={flag.value} must be 0 or more")
    if DRAWS.value < 1 or SEED.value < 0:
        raise ValueError(f"--bootstrap={DRAWS.value} must be 1 or more, --seed={SEED.value} 0")
    for needs, flag in ((MODEL, CODES), (REFERENCE, MUSICNN), (REFERENCE, PAIRED)):
        if flag.value and not needs.value:
            raise ValueError(f"--{flag.name} needs --{needs.name}")


def measure(entries: Sequence, what: str) -> list:
    """`track_figures.Measured` of each."""
    from jukejax.analysis import sound_sets, track_figures

    return [
        track_figures.measure(entry.name, sound_sets.middle(entry.read(), SECONDS.value))
        for entry in track(entries, total=len(entries), what=f"measuring the {what}, tracks")
    ]


def compare_sounds(given: list, reference: list, found: Found) -> None:
    """Rows of what a track has by itself, and of how far the sets are apart in sound."""
    from jukejax.analysis import comparison

    draws = {"draws": DRAWS.value, "seed": SEED.value}
    figures = [[track.figures for track in tracks] for tracks in (given, reference)]
    found.rows += comparison.compare("sound and rhythm", *figures, **draws)
    embedded = [[track.statistics for track in tracks] for tracks in (given, reference)]
    add_distances("distance in mel statistics", *embedded, found)


def add_distances(part: str, given: list, reference: list, found: Found) -> None:
    from jukejax.analysis import comparison

    if not reference:
        return
    rows = comparison.distances(part, given, reference, seed=SEED.value)
    found.rows += rows
    if not rows:
        found.notes.append(
            f"{part}: left out, it takes at least one track of the input and two of the reference, "
            "with four pieces each"
        )


def compare_pairs(given: Sequence, reference: Sequence, found: Found) -> None:
    """Rows of what each input lost against the reference of its name."""
    from jukejax.analysis import comparison, fidelity, sound_sets
    from jukejax.data import audio

    others = {Path(entry.name).with_suffix(""): entry for entry in reference}
    pairs = [(entry, others.get(Path(entry.name).with_suffix(""))) for entry in given]
    missing = [entry.name for entry, other in pairs if other is None]
    if missing:
        raise ValueError(
            f"--paired: --reference={REFERENCE.value} has nothing of the name of {missing[0]} "
            f"({len(missing)} of {len(pairs)} lack a partner)"
        )
    with_visqol = visqol_here(found)
    figures = []
    for entry, other in track(pairs, total=len(pairs), what="comparing pairs"):
        output, target = (
            sound_sets.middle(x.read(), SECONDS.value).mean(axis=1) for x in (entry, other)
        )
        figures.append(fidelity.figures(target, output, audio.SAMPLE_RATE, with_visqol=with_visqol))
    found.rows += comparison.compare(
        "input against its originals", figures, [], draws=DRAWS.value, seed=SEED.value
    )


def visqol_here(found: Found) -> bool:
    from jukejax.analysis import fidelity

    if fidelity.has_visqol():
        return True
    note = "ViSQOL: left out, it needs pip install 'jukejax[visqol]'"
    if note not in found.notes:
        found.notes.append(note)
    return False


def compare_with_model(given, reference, found: Found) -> None:
    """Everything that --model is for."""
    from jukejax import evaluate_model
    from jukejax.model import Model

    model = Model(MODEL.value)
    evaluate_model.check_rate(model.codec)
    sets = (given.entries, reference.entries if reference else ())
    add_reconstruction(model, given, sets, found)
    embedded = [evaluate_model.hidden_states(model, x, MODEL_SECONDS.value) for x in sets]
    part = f"distance in hidden states of the level {max(model.levels)} prior"
    add_distances(part, *embedded, found)
    if given.kind == "samples":
        add_seams(model, given, sets[1], found)
    if CODES.value:
        add_bits(model, found)


def add_reconstruction(model, given, sets, found: Found) -> None:
    """Rows of what the VQ-VAE loses, and of the use of its codes.

    Codes of generated tracks are those that were drawn, not those of their sound.
    """
    from jukejax import evaluate_model
    from jukejax.analysis import codebook, comparison

    draws = {"draws": DRAWS.value, "seed": SEED.value}
    levels, size = len(model.hops), model.codec.config.codebook_size
    drawn = given.kind == "samples"
    visqol = visqol_here(found)
    fidelity, counts = [], []
    for entries, what in zip(sets, ("input", "reference"), strict=True):
        of_levels = [[] for _ in range(levels)], [[] for _ in range(levels)]
        if drawn and what == "input":
            of_levels = of_levels[0], evaluate_model.sampled_counts(given.path, levels, size)
        elif entries:
            measured = evaluate_model.reconstruct(
                model.codec, entries, what, seconds=MODEL_SECONDS.value, with_visqol=visqol
            )
            for _, figures, occurrences in measured:
                for level in range(levels):
                    of_levels[0][level].append(figures[level])
                    of_levels[1][level].append(occurrences[level])
        fidelity.append(of_levels[0])
        counts.append(of_levels[1])
    for level in reversed(range(levels)):
        part = f"reconstruction, level {level}"
        found.rows += comparison.compare(part, fidelity[0][level], fidelity[1][level], **draws)
    for level in reversed(range(levels)):
        both = counts[0][level], counts[1][level]
        part = f"codebook, level {level}"
        found.rows += comparison.pooled(part, *both, lambda x: codebook.figures(x).table(), **draws)
        found.counts[level] = tuple(sum(x) if x else None for x in both)


def add_seams(model, given, reference, found: Found) -> None:
    from jukejax import evaluate_model
    from jukejax.analysis import comparison

    seen = False
    for level, at_joins, elsewhere in evaluate_model.seams(model, given.path, reference):
        seen = True
        found.rows += comparison.compare(
            f"joins of windows, level {level}",
            at_joins,
            elsewhere,
            draws=DRAWS.value,
            seed=SEED.value,
        )
    if not seen:
        found.notes.append(
            "joins of windows: left out, no track of the input has any whose place is known"
        )


def add_bits(model, found: Found) -> None:
    from jukejax import evaluate_model
    from jukejax.analysis import comparison

    for level in sorted(model.levels, reverse=True):
        bits = evaluate_model.heldout_bits(model, CODES.value, level, max_windows=MAX_WINDOWS.value)
        found.bits[level] = bits
        figures = [{"bits_per_code": value} for value in bits.values()]
        found.rows += comparison.compare(
            f"prior on held-out codes, level {level}",
            [],
            figures,
            draws=DRAWS.value,
            seed=SEED.value,
        )


def compare_by_musicnn(sets, found: Found) -> None:
    from jukejax import tagger
    from jukejax.analysis import sound_sets
    from jukejax.weights import musicnn

    weights, embedded = musicnn.load(MUSICNN.value), []
    for entries, what in zip(sets, ("input", "reference"), strict=True):
        embedded.append(
            [
                tagger.embed(weights, sound_sets.middle(entry.read(), MODEL_SECONDS.value))
                for entry in track(entries, total=len(entries), what=f"musicnn, {what}, tracks")
            ]
        )
    add_distances("distance in musicnn's features (not standard)", *embedded, found)


def main() -> int:
    check_flags()
    from jukejax.analysis import comparison, evaluation_page, sound_sets

    given = sound_sets.open_set(INPUT.value, "input", limit=MAX_TRACKS.value)
    reference = None
    if REFERENCE.value:
        reference = sound_sets.open_set(REFERENCE.value, "reference", limit=MAX_TRACKS.value)
    found = Found([], [], {}, {})
    measured = [measure(given.entries, "input")]
    measured.append(measure(reference.entries, "reference") if reference else [])
    compare_sounds(*measured, found)
    if PAIRED.value:
        compare_pairs(given.entries, reference.entries, found)
    if MODEL.value:
        compare_with_model(given, reference, found)
    if MUSICNN.value:
        compare_by_musicnn((given.entries, reference.entries), found)
    for line in comparison.text(found.rows):
        print(line)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    evaluation = evaluation_page.Evaluation(
        rows=found.rows,
        measured=tuple(measured),
        counts=found.counts,
        bits=found.bits,
        notes=found.notes,
        about=about(given, reference),
    )
    page = evaluation_page.write(OUTPUT.value, evaluation)
    print(f"Look: {page.resolve().as_uri()}")
    return 0


def about(given, reference) -> dict:
    """What was compared and how, for the JSON and the page."""
    asked = (INPUT, REFERENCE, MODEL, CODES, MUSICNN, PAIRED, MAX_TRACKS, SECONDS)
    asked += (MODEL_SECONDS, MAX_WINDOWS, DRAWS, SEED)
    return {
        "input": {"path": INPUT.value, "kind": given.kind, "tracks": len(given.entries)},
        "reference": {
            "path": REFERENCE.value,
            "kind": reference.kind,
            "tracks": len(reference.entries),
        }
        if reference
        else None,
        "settings": {flag.name: flag.value for flag in asked},
    }


if __name__ == "__main__":
    cli.run(main, __doc__)
