"""The flags of `sample` that describe a request; a line of a request file has their names."""

from typing import Any

from absl import flags

from jukejax.data import sections
from jukejax.data.labels import LABEL_NAMES
from jukejax.inference.windows import SCHEDULES
from jukejax.sampling.request import ALL, AUTO, DEFAULT_SECONDS, MODES
from jukejax.weights.recommended_settings import DEFAULTS

# Those that the tracks depend on, in the order of settings.json.
_LENGTH = (
    "mode",
    "seconds",
    "bars",
    "total_seconds",
    "offset_seconds",
    "num_samples",
    "first_item",
)
_GRID = ("bpm", "key", "first_beat", "sections", "loop")
_SOURCES = ("artist", "genre", "lyrics", "lyrics_file", "prompt", "prompt_seconds", "codes")
_RANGE = ("reroll", "candidates")
_GUIDANCE = ("guidance", "guided_labels")
_FILTERS = ("top_k", "top_p", "min_p")
_SAMPLING = ("levels", "temperature", *_GUIDANCE, *_FILTERS, "hop_fraction", "schedule")
NAMES = (*_LENGTH, *_GRID, *_SOURCES, *_RANGE, *_SAMPLING, "stream", "seed")


def read_values(values: flags.FlagValues) -> dict[str, Any]:
    """Returns the values of the flags that describe a request."""
    return {name: values[name].value for name in (*NAMES, "memory_fraction")}


def _describe_default(name: str) -> str:
    return f"Default: as the model recommends (model.json), else {DEFAULTS[name]}."


def define_request_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `NAMES`, and --memory_fraction."""
    flags.DEFINE_enum(
        "mode", "ancestral", MODES, "Start of the tracks; see above.", flag_values=values
    )
    flags.DEFINE_float(
        "seconds",
        None,
        f"Length of each track in seconds, prompt included; default: {DEFAULT_SECONDS:g}, or with "
        "--mode=upsample the whole length of the source.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "bars",
        None,
        "Length in bars of four beats, to the sample, instead of --seconds.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "bpm",
        None,
        "Beats a minute: the tempo of models that know one, and the unit of --bars; default: that "
        "of --codes or --prompt.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "key", None, "Key, such as Am, 'F# minor', 'Bb major' or 8A.", flag_values=values
    )
    flags.DEFINE_float(
        "first_beat",
        None,
        "Start of a bar in --prompt or --codes, in seconds; default: found by ear in --prompt, "
        "else 0.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "sections",
        AUTO,
        "Sections with their bars, such as intro:4,build:4,drop:8 (the last one goes on to the "
        f"end), for models that know sections; known are {', '.join(sections.NAMES[1:])}. auto: "
        "those of --codes, or drawn by the seed; '': unknown.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "loop",
        False,
        "The end joins the beginning: the last bar is drawn --candidates times, and the one "
        "selected that is best followed by the first. Needs --bars.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "guidance",
        None,
        "Weight of artist, genre, tempo, key, bar and section against the music alone: one number, "
        "or one for each of --levels. Above 1: they are followed more closely, at twice the work; "
        f"for models that were trained with label dropout. {_describe_default('guidance')}",
        flag_values=values,
    )
    flags.DEFINE_list(
        "guided_labels",
        None,
        f"Labels that --guidance is for: {ALL}, or some of {', '.join(LABEL_NAMES)}. The others "
        f"count as trained. {_describe_default('guided_labels')}",
        flag_values=values,
    )
    flags.DEFINE_float(
        "total_seconds",
        None,
        "Length in seconds of the whole piece that contains the track (timing label); "
        "default: up to the end of the track.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "offset_seconds", 0.0, "Start of the track in that piece, in seconds.", flag_values=values
    )
    flags.DEFINE_integer("num_samples", 1, "Number of tracks.", flag_values=values)
    flags.DEFINE_integer(
        "first_item",
        0,
        "Number of the first track. A track depends on its number and --seed, not on the others: "
        "--first_item=5 generates track 5 of a larger number alone.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "artist", None, "Artist, a name from the model's vocabulary.", flag_values=values
    )
    flags.DEFINE_string("genre", None, "Genre, or several separated by commas.", flag_values=values)
    flags.DEFINE_string(
        "lyrics", None, "Text of the lyrics, instead of --lyrics_file.", flag_values=values
    )
    flags.DEFINE_string(
        "lyrics_file",
        None,
        "Text or .lrc file with the lyrics; needs a model with lyrics.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "prompt",
        None,
        "Audio file to start from (--mode=primed or upsample); or a folder or a pattern such as "
        "'loops/*.wav', each file of which is a request.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "prompt_seconds",
        None,
        "Seconds of --prompt or --codes to keep; default: all of it.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "codes",
        None,
        "codes.npz of a sample (--mode=continue, upsample or reroll); or a folder of samples or a "
        "pattern, each codes.npz of which is a request.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "reroll",
        None,
        "START:STOP in seconds, or barN:barM, the range to generate again (--mode=reroll).",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "candidates",
        4,
        "Versions of the range of --mode=reroll, and of the last bar of --loop; the one under "
        "which the following codes are most likely is selected.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "levels",
        None,
        "Levels to generate, from coarse to fine. Default: all levels of the model, such as 2,1,0.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "temperature",
        None,
        "Randomness: one number, or one for each of --levels; 0: always the most likely code. "
        f"{_describe_default('temperature')}",
        flag_values=values,
    )
    flags.DEFINE_list(
        "top_k",
        None,
        "Choose among the k most likely codes: one number, or one for each of --levels; 0: among "
        f"all. {_describe_default('top_k')}",
        flag_values=values,
    )
    flags.DEFINE_list(
        "top_p",
        None,
        "Choose among the most likely codes of this total probability: one number, or one for each "
        f"of --levels; 0: among all. {_describe_default('top_p')}",
        flag_values=values,
    )
    flags.DEFINE_list(
        "min_p",
        None,
        "Choose among codes that are at least this many times as likely as the likeliest, before "
        "--temperature: one number, or one for each of --levels; 0: among all. "
        f"{_describe_default('min_p')}",
        flag_values=values,
    )
    flags.DEFINE_list(
        "hop_fraction",
        None,
        "Share of a window that is new in the next one; one number or one for each of --levels. "
        f"Smaller: more context, slower. {_describe_default('hop_fraction')}",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "schedule",
        None,
        SCHEDULES,
        "Order of a level's windows: one after the other, or, at the finer levels, in parallel and "
        "joined where they agree best (faster where many fit into memory). "
        f"{_describe_default('schedule')}",
        flag_values=values,
    )
    flags.DEFINE_float(
        "memory_fraction",
        0.8,
        "Share of the device's memory to fill with tracks and windows.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "stream",
        False,
        "Write each track's stream.wav while it is generated: it grows with the coarsest level, "
        "and is replaced by the finer ones.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of the random numbers; the same seed gives the same tracks.",
        flag_values=values,
    )
