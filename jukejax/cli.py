"""The border between a command line and the house: flags in, exit codes out.

Exit codes: 0 done, 2 bad usage or bad input, 130 interrupted by the user, 143 stopped by SIGTERM.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence

from absl import flags, logging

from jukejax.common import interruption

VERBS = {
    "prepare": "a folder of music to audio shards",
    "train": "train what a config names: VQ-VAE, top prior or upsampler",
    "encode": "audio shards to code shards, with a trained VQ-VAE",
    "export": "training runs or a bundle to a bundle, safetensors, OpenAI layout, StableHLO ...",
    "convert": "released weights to a model bundle",
    "sample": "generate tracks",
    "evaluate": "how good tracks are: sound, rhythm, likeness to a reference",
    "embed": "what a prior hears in music: activations of its layers",
    "audit": "did the model copy its training set?",
    "bench": "how fast each part is on this machine",
    "doctor": "what this machine can do: devices, memory, which released models fit, extras",
    "report": "one page that shows what a whole run of the road made",
}


def _usage_error(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _raise_stopped(signum, frame):
    del signum, frame
    if (watch := interruption.active()) is not None:
        watch.acknowledge()
    raise interruption.Stopped


def _at_home(word: str) -> str:
    """`--name=~/a,~/b` with the home folder written out, which shells leave alone behind a `=`."""
    name, equals, value = word.partition("=")
    if not (name.startswith("--") and equals):
        return word
    return name + equals + ",".join(os.path.expanduser(part) for part in value.split(","))


def _of_the_system(error: OSError) -> str:
    """An error of the system's, with the flag that names the place."""
    place = str(error.filename)
    for name in flags.FLAGS:
        given = flags.FLAGS[name].value
        if isinstance(given, str) and given and f"{place}/".startswith(given.rstrip("/") + "/"):
            return f"--{name}={given} cannot be used: {place}: {error.strerror}; take another"
    return f"{place}: {error.strerror}"


def _one_line(error: Exception) -> str:
    """What an error says; of a traceback inside it (an error in a config file) its last line."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return _of_the_system(error)
    message = str(error)
    if "Traceback (most recent call last)" in message:
        message = message.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(message.split()) or type(error).__name__


def _help(doc: str) -> str:
    """The verb's own flags, not those of the libraries that it imports."""
    parts = [doc.strip(), ""]
    for module, found in flags.FLAGS.flags_by_module_dict().items():
        if not module.startswith("absl"):
            parts += [flags.FLAGS.module_help(module)] if found else []
    return "\n".join(parts)


def _run_parsed(main: Callable[[], int | None], doc: str, argv: Sequence[str]) -> int:
    if any(flag in argv[1:] for flag in ("--help", "-h", "--helpshort")):
        print(_help(doc))
        return 0
    try:
        rest = flags.FLAGS(argv)
    except (AttributeError, KeyError, TypeError) as error:  # a --config.key that does not fit
        raise ValueError(f"a --config value does not fit the config: {_one_line(error)}") from error
    logging.set_verbosity(logging.ERROR)  # of the libraries; what users must know we print
    if len(rest) > 1:
        raise ValueError(f"unexpected argument {rest[1]!r}; flags are written --name=value")
    return main() or 0


def run(main: Callable[[], int | None], doc: str, argv: Sequence[str] | None = None) -> None:
    """Parses flags, calls `main`, and ends the process with the contract's exit code.

    `doc` is shown by --help. Bad flags, `ValueError` and `OSError` become one line on stderr and
    exit code 2 (JUKEJAX_TRACEBACK=1 shows where they came from); a bug keeps its traceback. A
    second Ctrl-C ends the process at once, whatever it waits for.
    """
    signal.signal(signal.SIGTERM, _raise_stopped)
    try:
        words = sys.argv if argv is None else argv
        with interruption.SignalWatch():
            code = _run_parsed(main, doc, [_at_home(word) for word in words])
    except (flags.Error, ValueError, OSError) as error:
        if os.environ.get("JUKEJAX_TRACEBACK"):
            raise
        code = _usage_error(_one_line(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except interruption.Stopped:
        print("stopped by SIGTERM", file=sys.stderr)
        code = 143
    sys.stdout.flush()
    sys.stderr.flush()
    if code in (130, 143):
        os._exit(code)  # do not wait for worker threads
    sys.exit(code)


def main() -> None:
    """The `jukejax VERB ...` console script."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(
            "usage: jukejax VERB [--flag=value ...]     (jukejax VERB --help explains its flags)\n"
        )
        for verb, what in VERBS.items():
            print(f"  {verb:<10}{what}")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    verb = sys.argv[1]
    if verb not in VERBS:
        sys.exit(_usage_error(f"unknown verb {verb!r}; known: {', '.join(VERBS)}"))
    module = importlib.import_module(f"jukejax.{verb}")
    sys.argv = [f"jukejax {verb}", *sys.argv[2:]]
    if hasattr(module, "start"):  # it has words of its own behind the verb
        module.start()
    else:
        run(module.main, module.__doc__)
