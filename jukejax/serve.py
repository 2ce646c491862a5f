"""Opens the studio: a page to compose, compare, judge and change takes, over a folder of projects.

    python -m jukejax.serve
    python -m jukejax.serve --projects=FOLDER --port=8000 --open
    python -m jukejax.serve --host=0.0.0.0 --auth=@FILE

The page needs the extra ui; `make serve` installs it. Jobs run one at a time, each as a command of
jukejax. A server that was stopped or killed continues its jobs when it is started again; a job that
runs meanwhile is ended first. docs/studio.md explains the page.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jukejax import cli
from jukejax.common import files
from jukejax.studio.place import Place
from jukejax.studio.server import serve_studio

FLAGS = flags.FlagValues()

PROJECTS = flags.DEFINE_string(
    "projects", "studio", "Folder of the projects; made if it is missing.", flag_values=FLAGS
)
MODELS = flags.DEFINE_list(
    "models", [], "Model bundles beside the shipped one, separated by commas.", flag_values=FLAGS
)
CORPORA = flags.DEFINE_list(
    "corpora",
    [],
    "Folders of prepare or encode that audits may search, separated by commas.",
    flag_values=FLAGS,
)
HOST = flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address to listen on. Any but the default is reached from other machines and needs --auth; "
    "the connection is not encrypted.",
    flag_values=FLAGS,
)
PORT = flags.DEFINE_integer("port", 7860, "Port to listen on; 0: any free one.", flag_values=FLAGS)
AUTH = flags.DEFINE_string(
    "auth",
    None,
    "USER:PASSWORD that the browser asks for, or @FILE with them in its first line (a command "
    "line is visible to other users of this machine).",
    flag_values=FLAGS,
)
OPEN = flags.DEFINE_bool("open", False, "Open the page in a browser.", flag_values=FLAGS)


def read_login(text: str | None) -> tuple[str, str] | None:
    """Parses --auth.

    Raises:
      ValueError: it is not USER:PASSWORD.
    """
    if text is None:
        return None
    if text.startswith("@"):
        files.check_regular(text[1:])
        lines = Path(text[1:]).read_text(encoding="utf-8").splitlines()
        text = lines[0] if lines else ""
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise ValueError("--auth is not USER:PASSWORD, nor @FILE with them in its first line")
    return user, password


def main() -> int:
    """Runs the server until it is stopped."""
    for flag in (MODELS, CORPORA):
        for folder in flag.value:
            name = "model.json" if flag is MODELS else "dataset.json"
            if not (Path(folder) / name).is_file():
                raise ValueError(f"--{flag.name}={folder} has no {name}")
    if not 0 <= PORT.value <= 65535:
        raise ValueError(f"--port={PORT.value} must be 0 to 65535")
    serve_studio(
        Path(PROJECTS.value),
        Place(HOST.value, PORT.value, read_login(AUTH.value)),
        models={Path(folder).name: str(Path(folder).resolve()) for folder in MODELS.value},
        corpora=[Path(folder) for folder in CORPORA.value],
        opens=OPEN.value,
    )
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
