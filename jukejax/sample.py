"""Generates tracks: codes level by level, from coarse to fine, then audio.

    python -m jukejax.sample --model=BUNDLE --seconds=12 --num_samples=2 --output=FOLDER

Modes:
  ancestral  generates new tracks.
  primed     continues --prompt, an audio file.
  continue   continues --codes, a codes.npz of an earlier sample.
  upsample   keeps the coarsest level of --codes, or of any audio file (--prompt), and generates the
             finer ones.
  reroll     generates --reroll=START:STOP of --codes again; the codes before and after it are kept.

--format, --bits, --lufs, --stems, --click and --midi write files for other programs, at once or
when a folder is finished.

The folder is written window by window: a run that was killed is resumed by the same command, and
ends with the same files. Only the times in meta.json differ.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from jukejax import cli
from jukejax.common import files
from jukejax.common.formatting import format_count
from jukejax.data.grid import Grid, merge_grids, parse_key
from jukejax.data.lrc import has_line_times, parse_lrc
from jukejax.sampling.request import (
    DEFAULT_SECONDS,
    MODES,
    Request,
    parse_bar_range,
    parse_integers,
    parse_per_level,
    parse_range,
    resolve_seconds,
)
from jukejax.sampling.take_flags import define_take_flags, read_take_settings
from jukejax.weights import bundle
from jukejax.weights.shipped import HOUSE, define_model_flag, resolve_model

FLAGS = flags.FlagValues()

MODEL = define_model_flag(
    "model", "Model bundle, made by export or convert; default: house, the shipped one.", FLAGS
)
OUTPUT = flags.DEFINE_string("output", None, "Folder for the tracks.", flag_values=FLAGS)
MODE = flags.DEFINE_enum(
    "mode", "ancestral", MODES, "Start of the tracks; see above.", flag_values=FLAGS
)
SECONDS = flags.DEFINE_float(
    "seconds",
    None,
    f"Length of each track in seconds, prompt included; default: {DEFAULT_SECONDS:g}, or with "
    "--mode=upsample the whole length of the source.",
    flag_values=FLAGS,
)
BARS = flags.DEFINE_float(
    "bars",
    None,
    "Length in bars of four beats, to the sample, instead of --seconds.",
    flag_values=FLAGS,
)
BPM = flags.DEFINE_float(
    "bpm",
    None,
    "Beats a minute: the tempo of models that know one, and the unit of --bars; default: that of "
    "--codes or --prompt.",
    flag_values=FLAGS,
)
KEY = flags.DEFINE_string(
    "key", None, "Key, such as Am, 'F# minor', 'Bb major' or 8A.", flag_values=FLAGS
)
FIRST_BEAT = flags.DEFINE_float(
    "first_beat",
    None,
    "Start of a bar in --prompt or --codes, in seconds; default: found by ear in --prompt, else 0.",
    flag_values=FLAGS,
)
LOOP = flags.DEFINE_bool(
    "loop",
    False,
    "The end joins the beginning: the last bar is drawn --candidates times, and the one selected "
    "that is best followed by the first. Needs --bars.",
    flag_values=FLAGS,
)
GUIDANCE = flags.DEFINE_list(
    "guidance",
    ["1"],
    "Weight of artist, genre, tempo, key and bar against the music alone: one number, or one for "
    "each of --levels. Above 1: they are followed more closely, at twice the work; for models that "
    "were trained with label dropout.",
    flag_values=FLAGS,
)
TOTAL_SECONDS = flags.DEFINE_float(
    "total_seconds",
    None,
    "Length in seconds of the whole piece that contains the track (timing label); "
    "default: up to the end of the track.",
    flag_values=FLAGS,
)
OFFSET_SECONDS = flags.DEFINE_float(
    "offset_seconds", 0.0, "Start of the track in that piece, in seconds.", flag_values=FLAGS
)
NUM_SAMPLES = flags.DEFINE_integer("num_samples", 1, "Number of tracks.", flag_values=FLAGS)
FIRST_ITEM = flags.DEFINE_integer(
    "first_item",
    0,
    "Number of the first track. A track depends on its number and --seed, not on the others: "
    "--first_item=5 generates track 5 of a larger number alone.",
    flag_values=FLAGS,
)
ARTIST = flags.DEFINE_string(
    "artist", None, "Artist, a name from the model's vocabulary.", flag_values=FLAGS
)
GENRE = flags.DEFINE_string(
    "genre", None, "Genre, or several separated by commas.", flag_values=FLAGS
)
LYRICS_FILE = flags.DEFINE_string(
    "lyrics_file",
    None,
    "Text or .lrc file with the lyrics; needs a model with lyrics.",
    flag_values=FLAGS,
)
PROMPT = flags.DEFINE_string(
    "prompt", None, "Audio file to start from (--mode=primed or upsample).", flag_values=FLAGS
)
PROMPT_SECONDS = flags.DEFINE_float(
    "prompt_seconds",
    None,
    "Seconds of --prompt or --codes to keep; default: all of it.",
    flag_values=FLAGS,
)
CODES = flags.DEFINE_string(
    "codes", None, "codes.npz of a sample (--mode=continue, upsample or reroll).", flag_values=FLAGS
)
REROLL = flags.DEFINE_string(
    "reroll",
    None,
    "START:STOP in seconds, or barN:barM, the range to generate again (--mode=reroll).",
    flag_values=FLAGS,
)
CANDIDATES = flags.DEFINE_integer(
    "candidates",
    4,
    "Versions of the range of --mode=reroll, and of the last bar of --loop; the one under which "
    "the following codes are most likely is selected.",
    flag_values=FLAGS,
)
LEVELS = flags.DEFINE_list(
    "levels",
    None,
    "Levels to generate, from coarse to fine. Default: all levels of the model, such as 2,1,0.",
    flag_values=FLAGS,
)
TEMPERATURE = flags.DEFINE_list(
    "temperature",
    ["0.98"],
    "Randomness: one number, or one for each of --levels; 0: always the most likely code.",
    flag_values=FLAGS,
)
TOP_K = flags.DEFINE_integer(
    "top_k", 0, "Choose among the k most likely codes; 0: among all.", flag_values=FLAGS
)
TOP_P = flags.DEFINE_float(
    "top_p",
    0.0,
    "Choose among the most likely codes of this total probability; 0: all.",
    flag_values=FLAGS,
)
HOP_FRACTION = flags.DEFINE_list(
    "hop_fraction",
    ["0.5"],
    "Share of a window that is new in the next one; one number or one for each of --levels. "
    "Smaller: more context, slower.",
    flag_values=FLAGS,
)
SCHEDULE = flags.DEFINE_enum(
    "schedule",
    "sequential",
    ["sequential", "parallel"],
    "Order of a level's windows: one after the other, or, at the finer levels, in parallel and "
    "joined where they agree best (faster where many fit into memory).",
    flag_values=FLAGS,
)
MEMORY_FRACTION = flags.DEFINE_float(
    "memory_fraction",
    0.8,
    "Share of the device's memory to fill with tracks and windows.",
    flag_values=FLAGS,
)
STREAM = flags.DEFINE_bool(
    "stream",
    False,
    "Write each track's stream.wav while it is generated: it grows with the coarsest level, and is "
    "replaced by the finer ones.",
    flag_values=FLAGS,
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the random numbers; the same seed gives the same tracks.", flag_values=FLAGS
)
DTYPE = flags.DEFINE_string(
    "dtype",
    None,
    "float32, bfloat16 or float16; default: bfloat16 on GPU and TPU, else float32.",
    flag_values=FLAGS,
)
WEIGHTS = flags.DEFINE_enum(
    "weights",
    "float",
    ["float", "int8"],
    "Type of the priors' matrices: --dtype, or eight bits, half the memory of bfloat16: faster for "
    "few tracks at once, at a small cost in accuracy.",
    flag_values=FLAGS,
)
define_take_flags(FLAGS)


def choose_levels(hops: Sequence[int]) -> list[str]:
    """Returns --levels, or else all levels of a model with these hops, from coarse to fine."""
    if LEVELS.value is not None:
        return LEVELS.value
    return [str(level) for level in reversed(range(len(hops)))]


def make_request(model: Mapping[str, Any]) -> Request:
    """Returns the request that the flags describe.

    Args:
      model: description of the bundle.
    """
    levels = parse_integers("levels", choose_levels(model["hops"]))
    return Request(
        mode=MODE.value,
        levels=levels,
        seconds=resolve_seconds(SECONDS.value, BARS.value, BPM.value),
        is_exact=BARS.value is not None,
        total_seconds=TOTAL_SECONDS.value,
        offset_seconds=OFFSET_SECONDS.value,
        items=range(FIRST_ITEM.value, FIRST_ITEM.value + NUM_SAMPLES.value),
        seed=SEED.value,
        artist=ARTIST.value,
        genre=GENRE.value,
        lyrics=read_lyrics(),
        prompt=PROMPT.value,
        prompt_seconds=PROMPT_SECONDS.value,
        codes=CODES.value,
        reroll=read_reroll(model["sample_rate"]),
        candidates=CANDIDATES.value,
        temperature=parse_per_level("temperature", TEMPERATURE.value, levels),
        hop_fraction=parse_per_level("hop_fraction", HOP_FRACTION.value, levels),
        guidance=parse_per_level("guidance", GUIDANCE.value, levels),
        bpm=BPM.value,
        key=None if KEY.value is None else parse_key(KEY.value),
        first_beat=FIRST_BEAT.value,
        loop=LOOP.value,
        top_k=TOP_K.value,
        top_p=TOP_P.value,
        schedule=SCHEDULE.value,
        memory_fraction=MEMORY_FRACTION.value,
        stream=STREAM.value,
    )


def read_reroll(sample_rate: int) -> tuple[float, float] | None:
    """Returns the range of --reroll in seconds; bars are those of --codes."""
    if REROLL.value is None or CODES.value is None:
        return None if REROLL.value is None else parse_range(REROLL.value)
    from jukejax.sampling.folder import read_grid

    own = Grid(BPM.value, None if FIRST_BEAT.value is None else FIRST_BEAT.value * sample_rate)
    bars = parse_bar_range(REROLL.value, merge_grids(own, read_grid(CODES.value)), sample_rate)
    return bars or parse_range(REROLL.value)


def read_lyrics() -> str:
    """Reads the text of --lyrics_file, of an LRC file without its times; "" without one."""
    if LYRICS_FILE.value is None:
        return ""
    files.check_regular(LYRICS_FILE.value)
    try:
        text = Path(LYRICS_FILE.value).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"--lyrics_file={LYRICS_FILE.value} is not UTF-8 text") from error
    return parse_lrc(text).text if has_line_times(text) else text


def collect_settings(model_hash: str, hops: Sequence[int]) -> dict[str, Any]:
    """Returns all settings that affect the tracks; a folder belongs to one set of settings."""
    length = (MODE, SECONDS, BARS, TOTAL_SECONDS, OFFSET_SECONDS, NUM_SAMPLES, FIRST_ITEM)
    grid = (BPM, KEY, FIRST_BEAT, LOOP)
    sources = (ARTIST, GENRE, LYRICS_FILE, PROMPT, PROMPT_SECONDS, CODES, REROLL, CANDIDATES)
    sampling = (LEVELS, TEMPERATURE, GUIDANCE, TOP_K, TOP_P, HOP_FRACTION, SCHEDULE, STREAM, SEED)
    values: dict[str, Any] = {
        flag.name: flag.value for flag in (*length, *grid, *sources, *sampling, DTYPE, WEIGHTS)
    }
    values["levels"] = choose_levels(hops)
    for flag in (LYRICS_FILE, PROMPT, CODES):
        if flag.value is not None:
            files.check_regular(flag.value)
            content = Path(flag.value).read_bytes()
            values[f"{flag.name}_sha256"] = hashlib.sha256(content).hexdigest()
    return {"model": model_hash} | values


def main() -> int:
    """Samples the tracks and prints the path of their page."""
    started_at = time.monotonic()
    if OUTPUT.value is None:
        raise ValueError("--output is needed; see --help")
    model_folder = MODEL.value or resolve_model(HOUSE)
    request = make_request(bundle.open_bundle(model_folder))
    takes = read_take_settings(FLAGS)
    output = Path(OUTPUT.value)

    from jukejax.inference.loaded_model import Model
    from jukejax.sampling.run import sample_tracks

    model = Model(model_folder, DTYPE.value, WEIGHTS.value)
    seconds = sample_tracks(
        model, request, output, collect_settings(model.hash, model.hops), started_at, takes
    )
    number = format_count(len(request.items), "track")
    print(f"{number} of {seconds:.1f} s: {output / 'index.html'}")
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
