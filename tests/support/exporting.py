"""The `export` command in the process of a test."""

from tests.support.command import run_in_process


def export(source, kind, output, *more):
    """Exports a bundle or a run to a folder, and returns the folder."""
    run_in_process("export", f"--workdir={source}", f"--format={kind}", f"--output={output}", *more)
    return output
