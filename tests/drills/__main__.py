"""Runs the drills and prints a table: kills, bad inputs and bad places, with a verdict by rule.

python -m tests.drills [--kills=150] [--seed=0] [--only=kills,inputs,places]

Exit code 1 if a verdict is "wrong". A verdict is wrong if a command ends with another exit code
than the contract's, prints a traceback or more than one line of error, does not name the culprit,
leaves something partial, takes too much memory or time, or, after kills, ends with other bytes.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests import conftest  # noqa: F401  # the environment of the tests, before JAX
from tests.drills import bad_files, bad_flags, bad_places, kills
from tests.drills.verdicts import Verdict, format_table
from tests.drills.workspace import Workspace


def main() -> int:
    """Runs the drills; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=150, help="number of random kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--only", default="inputs,places,kills", help="drills to run")
    arguments = parser.parse_args()
    started_at, verdicts = time.monotonic(), list[Verdict]()
    with tempfile.TemporaryDirectory(prefix="jukejax-drills-") as folder:
        workspace = Workspace(Path(folder))
        if "inputs" in arguments.only:
            verdicts += [*bad_files.run_drills(workspace), *bad_flags.run_drills(workspace)]
        if "places" in arguments.only:
            verdicts += bad_places.run_drills(workspace)
        if "kills" in arguments.only:
            verdicts += kills.run_drills(workspace, arguments.kills, arguments.seed)
    print(format_table(verdicts))
    wrong = [verdict for verdict in verdicts if verdict.fault]
    seconds = time.monotonic() - started_at
    print(f"{len(verdicts)} drills, {len(wrong)} wrong, in {seconds / 60:.1f} minutes")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
