"""Generate tracks: codes level by level, from coarse to fine, then audio.

    python -m jukejax.sample --model=BUNDLE --seconds=12 --num_samples=2 --output=FOLDER

Modes: `ancestral` starts from nothing; `primed` goes on from --prompt, an audio file; `continue`
goes on from --codes, a codes.npz of an earlier sample; `upsample` keeps the top level of --codes
and makes the finer ones. The folder is written window by window: a run that was killed goes on
where it stopped when the same command is given again, and ends the same.
"""

import sys
import time
from pathlib import Path

import numpy as np
from absl import flags

from jukejax import cli

MODEL = flags.DEFINE_string("model", None, "Model bundle, made by export.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for the tracks.")
MODE = flags.DEFINE_enum(
    "mode", "ancestral", ["ancestral", "primed", "continue", "upsample"], "Where to start from."
)
SECONDS = flags.DEFINE_float("seconds", 12.0, "Length of each track in seconds, prompt included.")
TOTAL_SECONDS = flags.DEFINE_float(
    "total_seconds",
    None,
    "Length in seconds of the whole piece that the model believes it is playing (timing label); "
    "default: --seconds.",
)
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 1, "How many tracks to make.")
ARTIST = flags.DEFINE_string("artist", None, "Artist, a name from the model's vocabulary.")
GENRE = flags.DEFINE_string("genre", None, "Genre, or several separated by commas.")
LYRICS_FILE = flags.DEFINE_string("lyrics_file", None, "Text to sing; needs a model with lyrics.")
PROMPT = flags.DEFINE_string("prompt", None, "Audio file to go on from (--mode=primed).")
PROMPT_SECONDS = flags.DEFINE_float(
    "prompt_seconds", None, "Seconds of the prompt to keep; default: all of it."
)
CODES = flags.DEFINE_string("codes", None, "codes.npz of a sample (--mode=continue or upsample).")
LEVELS = flags.DEFINE_list("levels", ["2", "1", "0"], "Levels to make, from coarse to fine.")
TEMPERATURE = flags.DEFINE_list(
    "temperature",
    ["0.98"],
    "Boldness: one number, or one for each of --levels; 0: always the likeliest.",
)
TOP_K = flags.DEFINE_integer("top_k", 0, "Choose among the k most likely codes; 0: among all.")
TOP_P = flags.DEFINE_float("top_p", 0.0, "Choose among the likeliest codes of this mass; 0: all.")
HOP_FRACTION = flags.DEFINE_list(
    "hop_fraction",
    ["0.5"],
    "Share of a window that is new in the next one; one number or one for each of --levels. "
    "Smaller: more context, slower.",
)
SCHEDULE = flags.DEFINE_enum("schedule", "sequential", ["sequential"], "Order of the windows.")
SEED = flags.DEFINE_integer("seed", 0, "Another seed, another track; the same one, the same track.")
DTYPE = flags.DEFINE_string(
    "dtype", None, "float32, bfloat16 or float16; default: bfloat16 on GPU and TPU, else float32."
)


def numbers(name: str, texts: list[str]) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"--{name}={','.join(texts)} is not a list of numbers") from error


def per_level(name: str, texts: list[str], levels: list[int]) -> dict[int, float]:
    """One number for all levels or one for each, as {level: number}."""
    values = numbers(name, texts)
    if len(values) == 1:
        values *= len(levels)
    if len(values) != len(levels):
        raise ValueError(f"--{name} has {len(values)} numbers for {len(levels)} levels")
    return dict(zip(levels, values, strict=True))


def starting_codes(model, first: int, totals: dict[int, int]) -> dict[int, np.ndarray]:
    """What each level has before sampling begins at level `first`, {level: int32 [t]}."""
    from jukejax.data import audio
    from jukejax.sample_folder import read_codes

    mode = MODE.value
    if mode == "ancestral":
        codes = {}
    elif mode == "primed":
        if PROMPT.value is None:
            raise ValueError("--mode=primed needs --prompt, an audio file")
        sound = audio.load(PROMPT.value, model.sample_rate)
        if PROMPT_SECONDS.value is not None:
            sound = sound[: int(PROMPT_SECONDS.value * model.sample_rate)]
        codes = dict(enumerate(model.codec.encode(sound)))
    else:
        if CODES.value is None:
            raise ValueError(f"--mode={mode} needs --codes, the codes.npz of a sample")
        codes = read_codes(CODES.value)
        if mode == "upsample":
            codes = {level: value for level, value in codes.items() if level == max(codes)}
    codes = {level: value[: totals[level]] for level, value in codes.items() if level in totals}
    above = len(codes.get(first + 1, ()))
    if first != max(totals) and above < totals[first + 1]:
        raise ValueError(
            f"level {first} needs {totals[first + 1]} codes of level {first + 1}, the starting "
            f"codes have {above}: begin --levels higher, or shorten --seconds"
        )
    if mode in ("primed", "continue") and not len(codes.get(first, ())):
        raise ValueError(f"the starting codes have none of level {first}")
    return codes


def check(levels: list[int]) -> None:
    """Flags that no model could satisfy."""
    if MODEL.value is None or OUTPUT.value is None:
        raise ValueError("--model and --output are needed; see --help")
    if levels != sorted(levels, reverse=True) or len(set(levels)) != len(levels):
        raise ValueError(f"--levels={','.join(LEVELS.value)} must go down, such as 2,1,0")
    if SECONDS.value <= 0:
        raise ValueError(f"--seconds={SECONDS.value} must be positive")
    if NUM_SAMPLES.value < 1:
        raise ValueError(f"--num_samples={NUM_SAMPLES.value} must be at least 1")
    if TOP_K.value < 0 or not 0 <= TOP_P.value <= 1:
        raise ValueError(f"--top_k={TOP_K.value} --top_p={TOP_P.value}: k >= 0 and 0 <= p <= 1")


def settings(model_hash: str) -> dict:
    """What the tracks depend on; a folder belongs to one such set."""
    asked = (MODE, SECONDS, TOTAL_SECONDS, NUM_SAMPLES, LEVELS, SEED, SCHEDULE, DTYPE)
    told = (ARTIST, GENRE, LYRICS_FILE, PROMPT, PROMPT_SECONDS, CODES)
    drawn = (TEMPERATURE, TOP_K, TOP_P, HOP_FRACTION)
    return {"model": model_hash} | {flag.name: flag.value for flag in (*asked, *told, *drawn)}


def levels_to_make(wanted: list[int], model) -> list[int]:
    """The levels that the model can make, saying so where it has to stop early."""
    missing = [level for level in wanted if level not in model.levels]
    kept = [level for level in wanted if level > max(missing, default=-1)]
    if not kept:
        have = ", ".join(map(str, model.levels))
        raise ValueError(f"{MODEL.value} has no prior for level {wanted[0]}; it has {have}")
    if missing:
        print(f"the model has no level {missing[0]}: stopping at level {kept[-1]}", file=sys.stderr)
    return kept


def main() -> int:
    wanted = [int(number) for number in numbers("levels", LEVELS.value)]
    check(wanted)

    from jukejax.analysis import report
    from jukejax.model import Model
    from jukejax.progress import Progress
    from jukejax.sample_folder import SampleFolder, claim
    from jukejax.sampling import Method
    from jukejax.tasks import generate

    model = Model(MODEL.value, DTYPE.value)
    text = ""
    if LYRICS_FILE.value is not None:
        if not model.sings():
            raise ValueError(f"{MODEL.value} was made without lyrics; leave --lyrics_file away")
        text = Path(LYRICS_FILE.value).read_text("utf-8")
    levels = levels_to_make(wanted, model)
    temperature = per_level("temperature", TEMPERATURE.value, wanted)
    hop_fraction = per_level("hop_fraction", HOP_FRACTION.value, wanted)
    count, totals = NUM_SAMPLES.value, model.totals(SECONDS.value)
    labels = {
        level: model.labels(
            level,
            artist=ARTIST.value,
            genre=GENRE.value,
            total_seconds=TOTAL_SECONDS.value or SECONDS.value,
            text=text,
        )
        for level in levels
    }
    starting = starting_codes(model, levels[0], totals)

    output = Path(OUTPUT.value)
    claim(output, settings(model.hash))
    folder = SampleFolder(output, count)
    codes = {level: np.tile(start, (count, 1)) for level, start in starting.items()}
    codes |= folder.load()
    seconds = totals[levels[0]] * model.hops[levels[0]] / model.sample_rate
    given = 0.0
    if MODE.value in ("primed", "continue"):
        given = len(starting[levels[0]]) * model.hops[levels[0]] / model.sample_rate
    for row in range(count):
        folder.write_meta(
            row,
            seed=SEED.value,
            item=row,
            mode=MODE.value,
            artist=ARTIST.value,
            genre=GENRE.value,
            seconds=round(seconds, 6),
            temperature={f"level_{level}": temperature[level] for level in levels},
            top_k=TOP_K.value,
            top_p=TOP_P.value,
            model=model.hash,
            prompt_seconds=round(given, 6),
        )

    for level in levels:
        began = time.monotonic()
        made = codes.get(level, np.zeros((count, 0), np.int32))
        if made.shape[1] == totals[level] and folder.has_audio(level):
            continue
        if made.shape[1] < totals[level]:
            config, weights = model.prior(level)
            progress = Progress(f"level {level}, codes", totals[level], done=made.shape[1])
            windows = generate.sample_level(
                config,
                weights,
                total=totals[level],
                given=made,
                upper=codes.get(level + 1),
                labels=[labels[level]] * count,
                keys=generate.item_keys(SEED.value, range(count), level),
                window_hop=model.window_hop(level, hop_fraction[level]),
                temperature=temperature[level],
                method=Method(TOP_K.value, TOP_P.value),
            )
            for so_far in windows:
                codes[level] = so_far
                folder.save(codes)
                progress.update(so_far.shape[1])
        else:
            folder.save(codes)
        sounds = [model.codec.decode(codes[level][row], level) for row in range(count)]
        spent = time.monotonic() - began
        for row, sound in enumerate(sounds):
            folder.write_audio(row, level, sound, model.sample_rate, spent)
        report.write_sample_page(output)
    print(f"{count} track(s) of {seconds:.1f} s: {output / 'index.html'}")
    return 0


if __name__ == "__main__":
    cli.run(main, __doc__)
