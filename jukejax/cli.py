"""Command-line entry point: parses flags, maps exceptions to exit codes.

Exit codes: 0 done, 2 bad usage or bad input, 130 interrupted by the user, 143 stopped by SIGTERM.
Commands may return other codes (`audit` returns 3 for copied music).
"""

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from absl import flags, logging

from jukejax.common import bucket_flags, bucket_names, interruption
from jukejax.runtime import platform_flags

VERBS = {
    "prepare": "a folder of music to audio shards",
    "train": "train the model of a config: VQ-VAE, top prior or upsampler",
    "encode": "audio shards to code shards, with a trained VQ-VAE",
    "export": "training runs or a bundle to a bundle, safetensors, OpenAI layout, StableHLO ...",
    "convert": "released weights to a model bundle",
    "sample": "generate tracks",
    "video": "an MP4 of a track: spectrogram, codes, beats, images",
    "align": "times of the words of lyrics, by a model's attention",
    "evaluate": "measure tracks: sound, rhythm, similarity to a reference",
    "listen": "blind listening test of two folders of tracks, and its result",
    "embed": "activations of a prior's layers, for music analysis",
    "audit": "search generated music for copies of the training set",
    "bench": "speed and memory of each part on this machine",
    "doctor": "devices, memory and extras of this machine, and the released models that fit",
    "serve": "the studio: a page to compose, compare, judge and change takes",
    "report": "one page with the results of a whole pipeline",
}


def run(
    main: Callable[[], int | None],
    doc: str,
    values: flags.FlagValues,
    argv: Sequence[str] | None = None,
    *,
    copies_buckets: bool = True,
) -> None:
    """Parses flags, calls `main`, and ends the process with the exit code of the contract.

    Bad flags, `ValueError` and `OSError` become one line on stderr and exit code 2
    (JUKEJAX_TRACEBACK=1 prints their traceback instead); other exceptions keep their traceback. A
    second Ctrl-C ends the process at once.

    Args:
      main: the command; returns its exit code, None for 0.
      doc: text that --help prints above the flags.
      values: the command's flags.
      argv: the command line; None: `sys.argv`.
      copies_buckets: `main` gets local copies of the flags' paths in buckets (`bucket_flags`).
    """
    if copies_buckets:
        main = functools.partial(_call_with_copies, main, values)
    with bucket_names.restore_printed_names():
        code = _run_with_signals(main, doc, values, sys.argv if argv is None else argv)
    sys.stdout.flush()
    sys.stderr.flush()
    if code in (130, 143):
        os._exit(code)  # do not wait for worker threads
    sys.exit(code)


def _run_with_signals(
    main: Callable[[], int | None], doc: str, values: flags.FlagValues, argv: Sequence[str]
) -> int:
    platform_flags.configure_process()
    previous_handler = signal.signal(signal.SIGTERM, _raise_stopped)
    try:
        with interruption.SignalWatch():
            code = _parse_and_call(main, doc, values, argv)
    except (flags.Error, ValueError, OSError) as error:
        if os.environ.get("JUKEJAX_TRACEBACK"):
            raise
        code = _print_usage_error(_format_error(error, values))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except interruption.Stopped:
        print("stopped by SIGTERM", file=sys.stderr)
        code = 143
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
    return code


def main() -> None:
    """Runs the `jukejax VERB ...` console script."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(
            "usage: jukejax VERB [--flag=value ...]     (jukejax VERB --help explains its flags)\n"
        )
        for verb, summary in VERBS.items():
            print(f"  {verb:<10}{summary}")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    verb = sys.argv[1]
    if verb not in VERBS:
        sys.exit(_print_usage_error(f"unknown verb {verb!r}; known: {', '.join(VERBS)}"))
    module = importlib.import_module(f"jukejax.{verb}")
    module.start([f"jukejax {verb}", *sys.argv[2:]])


def _parse_and_call(
    main: Callable[[], int | None], doc: str, values: flags.FlagValues, argv: Sequence[str]
) -> int:
    if any(flag in argv[1:] for flag in ("--help", "-h", "--helpshort")):
        print(f"{doc.strip()}\n\n{values.get_help()}")
        return 0
    _reset_flags(values)
    try:
        arguments = values([_expand_user(word) for word in argv])
    except (AttributeError, KeyError, TypeError) as error:  # a --config.key that does not fit
        reason = _format_error(error, values)
        raise ValueError(f"a --config value does not fit the config: {reason}") from error
    logging.set_verbosity(logging.ERROR)  # of libraries; messages to users are printed
    if len(arguments) > 1:
        raise ValueError(f"unexpected argument {arguments[1]!r}; flags are written --name=value")
    return main() or 0


def _call_with_copies(main: Callable[[], int | None], values: flags.FlagValues) -> int | None:
    with bucket_flags.open_buckets(values):
        return main()


def _reset_flags(values: flags.FlagValues) -> None:
    """Sets flags back to their defaults, for a second call in one process."""
    for name in list(values):
        if "." in name:  # --config.key, defined while the config was parsed, perhaps in vain
            delattr(values, name)
        else:
            values[name].unparse()
    values.unparse_flags()


def _expand_user(word: str) -> str:
    """Expands the `~` of each path in `--name=~/a,~/b`, which shells do not expand after a `=`."""
    name, equals, value = word.partition("=")
    if not (name.startswith("--") and equals):
        return word
    return name + equals + ",".join(os.path.expanduser(path) for path in value.split(","))


def _format_error(error: Exception, values: flags.FlagValues) -> str:
    """Formats an error as one line; of a traceback in it (from a config file) the last line."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return _format_os_error(error, values)
    message = str(error)
    if "Traceback (most recent call last)" in message:
        message = message.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(message.split()) or type(error).__name__


def _format_os_error(error: OSError, values: flags.FlagValues) -> str:
    """Formats an error of the file system, with the flag that names the path."""
    path = str(error.filename)
    for name in values:
        value = values[name].value
        if isinstance(value, str) and value and f"{path}/".startswith(value.rstrip("/") + "/"):
            return f"--{name}={value} cannot be used: {path}: {error.strerror}; take another"
    return f"{path}: {error.strerror}"


def _print_usage_error(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _raise_stopped(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    if (watch := interruption.active_watch()) is not None:
        watch.acknowledge()
    raise interruption.Stopped
