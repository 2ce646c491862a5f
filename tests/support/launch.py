"""The launch scripts, and stand-ins for the programs that they start."""

from pathlib import Path

from tests.support.command import ROOT

LAUNCH = ROOT / "launch"


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path
