"""Generate tracks: codes level by level, from coarse to fine, then audio.

    python -m jukejax.sample --model=BUNDLE --seconds=12 --num_samples=2 --output=FOLDER

Modes: `ancestral` starts from nothing; `primed` goes on from --prompt, an audio file; `continue`
goes on from --codes, a codes.npz of an earlier sample; `upsample` keeps the top level of --codes
and makes the finer ones. The folder is written window by window: a run that was killed goes on
where it stopped when the same command is given again, and ends the same.
"""

import json
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
    "temperature", ["0.98"], "Boldness, one number or one for each of --levels; 0: most likely code."
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


def per_level(name: str, texts: list[str], levels: list[int]) -> dict[int, float]:
    """One number for all levels or one for each, as {level: number}."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"--{name}={','.join(texts)} is not a list of numbers") from error
    if len(numbers) == 1:
        numbers *= len(levels)
    if len(numbers) != len(levels):
        raise ValueError(f"--{name} has {len(numbers)} numbers for {len(levels)} levels")
    return dict(zip(levels, numbers, strict=True))


def read_codes(path: str) -> dict[int, np.ndarray]:
    """{level: int32 [1, t]} of a codes.npz."""
    try:
        with np.load(path) as file:
            return {int(k.removeprefix("level_")): file[k].astype(np.int32)[None] for k in file.files}
    except (OSError, ValueError) as error:
        raise ValueError(f"--codes={path} cannot be read as a codes.npz: {error}") from error


def starting_codes(model, mode: str, totals: dict[int, int]) -> dict[int, np.ndarray]:
    """What each level has before sampling, {level: int32 [1, t]}; a level may be missing."""
    from jukejax.data import audio

    levels = sorted(totals)
    if mode == "ancestral":
        return {}
    if mode == "primed":
        if PROMPT.value is None:
            raise ValueError("--mode=primed needs --prompt, an audio file")
        sound = audio.load(PROMPT.value, model.sample_rate)
        if PROMPT_SECONDS.value is not None:
            sound = sound[: int(PROMPT_SECONDS.value * model.sample_rate)]
        codes = model.codec.encode(sound)
        codes = {level: codes[level][None] for level in levels}
    else:
        if CODES.value is None:
            raise ValueError(f"--mode={mode} needs --codes, the codes.npz of a sample")
        codes = read_codes(CODES.value)
        if mode == "upsample":
            top = max(codes)
            codes = {top: codes[top]}
    top = max(levels)
    if top not in codes:
        raise ValueError(f"the starting codes have no level {top}")
    if codes[top].shape[1] == 0:
        raise ValueError(f"the prompt is shorter than one code of level {top}")
    return {
        level: value[:, : totals[level]] for level, value in codes.items() if level in totals
    }


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
    names = (
        "mode seconds total_seconds num_samples artist genre prompt prompt_seconds codes levels "
        "temperature top_k top_p hop_fraction schedule seed dtype"
    ).split()
    return {"model": model_hash} | {name: flags.FLAGS[name].value for name in names}


def claim_folder(output: Path, values: dict) -> None:
    """Refuses to mix two different sets of tracks in one folder."""
    from jukejax.weights import bundle

    path = output / "settings.json"
    if path.exists():
        before = bundle.read_json(path)
        for name, value in values.items():
            if before.get(name) != value:
                raise ValueError(
                    f"{output} was begun with {name}={before.get(name)}, not {value}; take another "
                    "--output"
                )
    output.mkdir(parents=True, exist_ok=True)
    bundle.write_json(path, values)


class Items:
    """The items' folders: codes so far, audio, meta.json."""

    def __init__(self, output: Path, count: int):
        self.folders = [output / f"item_{number:03d}" for number in range(count)]
        for folder in self.folders:
            folder.mkdir(exist_ok=True)

    def load(self) -> dict[int, np.ndarray]:
        """{level: int32 [B, t]}: what every item has already."""
        found = [
            read_codes(str(folder / "codes.npz")) if (folder / "codes.npz").exists() else {}
            for folder in self.folders
        ]
        levels = set.intersection(*(set(codes) for codes in found))
        shortest = {level: min(codes[level].shape[1] for codes in found) for level in levels}
        return {
            level: np.concatenate([codes[level][:, : shortest[level]] for codes in found])
            for level in levels
        }

    def save(self, codes: dict[int, np.ndarray]) -> None:
        """Writes each item's codes, atomically."""
        for row, folder in enumerate(self.folders):
            temporary = folder / "codes.tmp.npz"
            arrays = {f"level_{k}": v[row].astype(np.uint16) for k, v in sorted(codes.items())}
            np.savez(temporary, **arrays)
            temporary.replace(folder / "codes.npz")

    def meta(self, row: int) -> dict:
        path = self.folders[row] / "meta.json"
        return json.loads(path.read_text()) if path.exists() else {"timings": {}, "gain": {}}

    def write_meta(self, row: int, **values) -> None:
        from jukejax.weights import bundle

        bundle.write_json(self.folders[row] / "meta.json", self.meta(row) | values)


def main() -> int:
    try:
        levels = [int(text) for text in LEVELS.value]
    except ValueError as error:
        raise ValueError(f"--levels={','.join(LEVELS.value)} is not a list of numbers") from error
    check(levels)
    temperature = per_level("temperature", TEMPERATURE.value, levels)
    hop_fraction = per_level("hop_fraction", HOP_FRACTION.value, levels)

    from jukejax.analysis import report
    from jukejax.data import audio
    from jukejax.model import Model
    from jukejax.progress import Progress
    from jukejax.sampling import Method
    from jukejax.tasks import generate

    model = Model(MODEL.value, DTYPE.value)
    if LYRICS_FILE.value is not None:
        raise ValueError(f"{MODEL.value} has no lyrics; leave --lyrics_file away")
    missing = [level for level in levels if level not in model.levels]
    if missing:
        kept = [level for level in levels if level > max(missing)]
        if not kept:
            raise ValueError(f"{MODEL.value} has no level_{missing[0]}; it has {model.levels}")
        print(f"no level_{max(missing)} in the model: stopping at level {kept[-1]}", file=sys.stderr)
        levels = kept
    labels = model.labels(ARTIST.value, GENRE.value, TOTAL_SECONDS.value or SECONDS.value)
    output, count = Path(OUTPUT.value), NUM_SAMPLES.value
    totals = model.totals(SECONDS.value)
    claim_folder(output, settings(model.hash))
    items = Items(output, count)
    codes = items.load()
    starting = starting_codes(model, MODE.value, {level: totals[level] for level in model.levels})
    for level, start in starting.items():
        if level not in codes:
            codes[level] = np.repeat(start, count, axis=0)
    top = max(model.levels)
    if levels[0] != top and levels[0] + 1 not in codes:
        raise ValueError(f"level {levels[0]} needs codes of level {levels[0] + 1}: --codes")

    for row in range(count):
        items.write_meta(
            row,
            seed=SEED.value,
            item=row,
            mode=MODE.value,
            artist=ARTIST.value,
            genre=GENRE.value,
            seconds=totals[top] * model.hops[top] / model.sample_rate,
            temperature=[temperature[level] for level in levels],
            top_k=TOP_K.value,
            top_p=TOP_P.value,
            model=model.hash,
            prompt_seconds=starting[top].shape[1] * model.hops[top] / model.sample_rate
            if MODE.value in ("primed", "continue")
            else 0.0,
        )
    for level in levels:
        began = time.monotonic()
        done = codes.get(level, np.zeros((count, 0), np.int32))
        made = done.shape[1]
        if made < totals[level]:
            config, weights = model.prior(level)
            hop = model.window_hop(level, hop_fraction[level])
            progress = Progress(f"level {level}", totals[level], done=made, every=2.0)
            for done in generate.sample_level(
                config,
                weights,
                total=totals[level],
                given=done,
                upper=codes.get(level + 1),
                labels=[labels] * count,
                keys=generate.item_keys(SEED.value, range(count), level),
                window_hop=hop,
                temperature=temperature[level],
                method=Method(TOP_K.value, TOP_P.value),
            ):
                codes[level] = done
                items.save(codes)
                progress.update(done.shape[1])
        sampled = time.monotonic() - began
        for row, folder in enumerate(items.folders):
            path = folder / f"level_{level}.wav"
            if made == totals[level] and path.exists():
                continue
            sound = model.codec.decode(codes[level][row], level)
            gain = audio.write_wav(path, sound, model.sample_rate)
            meta = items.meta(row)
            spent = meta["timings"].get(f"level_{level}", 0.0) + sampled
            meta["timings"][f"level_{level}"] = round(spent, 3)
            meta["gain"][f"level_{level}"] = gain
            total_time = sum(meta["timings"].values())
            meta["seconds_per_second_of_audio"] = round(total_time / meta["seconds"] / count, 3)
            items.write_meta(row, **meta)
        report.write_sample_page(output)
    print(f"{count} track(s) of {totals[top] * model.hops[top] / model.sample_rate:.1f} s: "
          f"{output / 'index.html'}")
    return 0


if __name__ == "__main__":
    cli.run(main, __doc__)
