"""Verdicts on commands that were given something bad, by the rules of the contract."""

import contextlib
import resource
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.support.command import call_in_process

MAX_SECONDS = 60
MAX_GROWTH = 1.0  # GB that a refusal may add to the peak memory of the process
COMPLETE = ("dataset.json", "model.json", "index.html", "summary.json")  # mark outputs as complete


@dataclass(frozen=True)
class Verdict:
    """The outcome of a drill.

    Attributes:
      kind: "kill", "file", "flag" or "place".
      command: verb.
      case: what was bad.
      fault: why the outcome is wrong; "" if it is right.
      message: last line that the command printed on stderr.
    """

    kind: str
    command: str
    case: str
    fault: str = ""
    message: str = ""


def judge_refusal(
    kind: str,
    case: str,
    verb: str,
    flags: Sequence[str],
    *,
    culprit: str,
    output: Path | None = None,
    code: int = 2,
) -> Verdict:
    """Runs a command in this process that must be refused.

    Args:
      culprit: text that the message must hold.
      output: folder that must not look complete afterwards.
    """
    before = peak_gigabytes()
    try:
        with limit_seconds(MAX_SECONDS):
            done = call_in_process(verb, *flags)
    except TimeoutError:
        return Verdict(kind, verb, case, f"no end within {MAX_SECONDS} s")
    except Exception as error:  # a traceback at the command line
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        return Verdict(kind, verb, case, "traceback", text)
    fault = "".join(find_faults(done, culprit, code, output))
    growth = peak_gigabytes() - before
    if growth > MAX_GROWTH:
        fault += f"{growth:.1f} GB more memory"
    lines = done.stderr.strip().splitlines()
    return Verdict(kind, verb, case, fault, lines[-1] if lines else "")


def find_faults(
    done: subprocess.CompletedProcess, culprit: str, code: int, output: Path | None
) -> Iterator[str]:
    """Yields the faults of a refusal."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode != code:
        yield f"exit code {done.returncode}; "
    if "Traceback" in done.stderr:
        yield "traceback; "
    if code == 2 and len(errors) != 1:
        yield f"{len(errors)} lines of error; "
    if culprit not in done.stderr + done.stdout:
        yield f"does not name {culprit!r}; "
    if output is not None and any((output / name).exists() for name in COMPLETE):
        yield "partial output; "


@contextlib.contextmanager
def limit_seconds(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in the `with` block after so many seconds, such as of a hang."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def peak_gigabytes() -> float:
    """Returns the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def format_table(verdicts: Sequence[Verdict]) -> str:
    """Formats the number of drills by kind and command, and each wrong one."""
    total = Counter((verdict.kind, verdict.command) for verdict in verdicts)
    wrong = Counter((verdict.kind, verdict.command) for verdict in verdicts if verdict.fault)
    lines = [f"{'kind':<8}{'command':<10}{'drills':>7}{'wrong':>7}"]
    for key, count in sorted(total.items()):
        lines.append(f"{key[0]:<8}{key[1]:<10}{count:>7}{wrong[key]:>7}")
    for verdict in verdicts:
        if verdict.fault:
            lines.append(
                f"wrong: {verdict.command}, {verdict.case}: {verdict.fault}\n    {verdict.message}"
            )
    return "\n".join(lines)
