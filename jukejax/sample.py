"""Generates tracks: codes level by level, from coarse to fine, then audio.

    python -m jukejax.sample --model=BUNDLE --seconds=12 --num_samples=2 --output=FOLDER

Modes:
  ancestral  generates new tracks.
  primed     continues --prompt, an audio file.
  continue   continues --codes, a codes.npz of an earlier sample.
  upsample   keeps the coarsest level of --codes, or of any audio file (--prompt), and generates the
             finer ones.
  reroll     generates --reroll=START:STOP of --codes again; the codes before and after it are kept.

--requests=FILE.jsonl has a request a line, and --prompt and --codes take folders and patterns: a
request for each file. Requests of the same shape are sampled in one batch.

Several processes share such requests: --coordinator, --num_processes and --process_id where the
cluster does not set them. A process uses all devices of its host.

--format, --bits, --lufs, --stems, --click and --midi write files for other programs, at once or
when a folder is finished.

The folder is written window by window: a run that was killed is resumed by the same command, and
ends with the same files. Only the times in meta.json differ.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from jukejax import cli
from jukejax.common import mirrors
from jukejax.common.formatting import format_count
from jukejax.runtime import platform_flags
from jukejax.runtime.dtype_flag import define_dtype_flag
from jukejax.sampling import source_paths
from jukejax.sampling.flag_requests import collect_settings, fill_flags, make_flag_request
from jukejax.sampling.request_file import BadLines, make_request_entries, read_entries
from jukejax.sampling.request_flags import define_request_flags, read_values
from jukejax.sampling.take_flags import define_take_flags, read_take_settings
from jukejax.weights import bundle
from jukejax.weights.shipped import HOUSE, define_model_flag, resolve_model

FLAGS = flags.FlagValues()

MODEL = define_model_flag(
    "model", "Model bundle, made by export or convert; default: house, the shipped one.", FLAGS
)
OUTPUT = flags.DEFINE_string("output", None, "Folder for the tracks.", flag_values=FLAGS)
DTYPE = define_dtype_flag(FLAGS)
WEIGHTS = flags.DEFINE_enum(
    "weights",
    "float",
    ["float", "int8"],
    "Type of the priors' matrices: --dtype, or eight bits, half the memory of bfloat16: faster for "
    "few tracks at once, at a small cost in accuracy.",
    flag_values=FLAGS,
)
TENSOR = flags.DEFINE_integer(
    "tensor",
    0,
    "Devices of this host that share the weights of a prior; 0: as few as hold them in "
    "--memory_fraction of each.",
    lower_bound=0,
    flag_values=FLAGS,
)
REQUESTS = flags.DEFINE_string(
    "requests",
    None,
    "File with a request a line, as JSON with the names of these flags, which are the defaults of "
    "all lines. Requests of the same shape are sampled in one batch.",
    flag_values=FLAGS,
)
BAD_REQUESTS = flags.DEFINE_enum(
    "bad_requests",
    "refuse",
    ["refuse", "skip"],
    "If a line of --requests cannot be used: end before any work, or leave it out.",
    flag_values=FLAGS,
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    "",
    "HOST:PORT of process 0, for --requests that several processes share.",
    flag_values=FLAGS,
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", 0, "Processes that share --requests.", flag_values=FLAGS
)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", -1, "Number of this process, from 0.", flag_values=FLAGS
)
define_request_flags(FLAGS)
define_take_flags(FLAGS)


# Bytes of the weights of a model with which freed memory is kept for the next window: 12 s of the
# shipped model took 34.2 and 32.4 s of one busy core instead of 39.6 and 36.2.
SMALL_MODEL = 1 << 30


def main() -> int:
    """Samples the tracks and prints the path of their page."""
    started_at = time.monotonic()
    if OUTPUT.value is None:
        raise ValueError("--output is needed; see --help")
    folder = MODEL.value or resolve_model(HOUSE)
    if sum(path.stat().st_size for path in Path(folder).glob("*/*.safetensors")) < SMALL_MODEL:
        platform_flags.keep_memory()
    values = read_values(FLAGS)
    sources = [values[name] for name in source_paths.NAMES if values[name] is not None]
    if REQUESTS.value is None and not any(map(source_paths.is_plural, sources)):
        if COORDINATOR.value or NUM_PROCESSES.value > 0 or PROCESS_ID.value >= 0:
            raise ValueError(
                "several processes share the lines of --requests, or the files of a folder: for "
                "one request give a file of one line, without --coordinator, --num_processes and "
                "--process_id for one process"
            )
        sample_one(folder, values, Path(OUTPUT.value), started_at)
    else:
        sample_many(folder, values, Path(OUTPUT.value), started_at)
    return 0


def sample_one(folder: str, values: Mapping[str, Any], output: Path, started_at: float) -> None:
    """Samples the tracks of one request.

    Args:
      folder: of the model.
      values: of the flags that describe the request.
    """
    description = bundle.open_bundle(folder)
    values = fill_flags(values, description)
    request = make_flag_request(values, description)
    takes = read_take_settings(FLAGS)

    from jukejax.inference.loaded_model import Model
    from jukejax.sampling.run import sample_tracks

    model = Model(folder, DTYPE.value, WEIGHTS.value, TENSOR.value, values["memory_fraction"])
    settings = {
        "model": model.hash,
        **collect_settings(values, model.hops),
        "dtype": DTYPE.value,
        "weights": WEIGHTS.value,
    }
    seconds = sample_tracks(model, request, output, settings, started_at, takes)
    number = format_count(len(request.items), "track")
    print(f"{number} of {seconds:.1f} s: {output / 'index.html'}")


def sample_many(folder: str, values: Mapping[str, Any], output: Path, started_at: float) -> None:
    """Samples the tracks of a file of requests, or of a folder of sources.

    Args:
      folder: of the model.
      values: of the flags, the defaults of all requests.
    """
    description = bundle.open_bundle(folder)
    bad_lines = BadLines(REQUESTS.value or "", is_skipping=BAD_REQUESTS.value == "skip")
    if REQUESTS.value is None:
        entries = make_request_entries(values, description)
    else:
        entries = read_entries(values, description, bad_lines, FLAGS)
    takes = read_take_settings(FLAGS)

    from jukejax.inference.loaded_model import Model
    from jukejax.runtime import distributed
    from jukejax.sampling.run import sample_batches
    from jukejax.sampling.shares import find_rank

    place = distributed.Place(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    check_shared_output(output, NUM_PROCESSES.value)
    distributed.join_processes(place)
    rank = find_rank()
    check_shared_output(output, rank.count)
    model = Model(folder, DTYPE.value, WEIGHTS.value, TENSOR.value, values["memory_fraction"])
    settings = {"model": model.hash, "dtype": DTYPE.value, "weights": WEIGHTS.value}
    tracks, shapes = sample_batches(
        model, entries, bad_lines, output, settings, started_at, takes, rank
    )
    if rank.is_writer:
        number = f"{format_count(tracks, 'track')} of {format_count(shapes, 'shape')}"
        print(f"{number}: {output / 'index.html'}")


def check_shared_output(output: Path, num_processes: int) -> None:
    """Checks that processes which share the tracks write into one folder.

    Raises:
      ValueError: `output` is the copy of a folder in a bucket, of which each process has its own.
    """
    url = mirrors.find_url(output)
    if num_processes > 1 and url is not None:
        raise ValueError(
            f"--output={url}: several processes need a folder that all of them reach; give one, or "
            "sample in one process"
        )


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
