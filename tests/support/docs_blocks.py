"""Code blocks of the documents, and the commands in them."""

import ast
import re
import textwrap

# The first words of commands; lines of blocks that begin otherwise are Python, or lists of files.
COMMAND = re.compile(
    r"([A-Z_]+=\S+ )*(\.venv/bin/\w+|launch/\S+|jukejax|python3?|pip|make|git|bash|curl|for)\b"
)
LISTED_FILE = re.compile(r"(FOLDER|out)/\S+")


def read_blocks(text: str) -> list[str]:
    """Returns the code blocks of a page, indented by four spaces or fenced."""
    blocks: list[list[str]] = []
    is_fenced, is_inside = False, False
    previous = ""
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            is_fenced, is_inside = not is_fenced, False
            continue
        is_code = is_fenced or (line.startswith("    ") and (is_inside or not previous.strip()))
        if is_code and not is_inside:
            blocks.append([])
        if is_code:
            blocks[-1].append(line)
        elif is_inside and not line.strip():
            blocks[-1].append("")  # the block may go on after an empty line
            is_code = True
        is_inside, previous = is_code, line
    return [textwrap.dedent("\n".join(block)).strip("\n") for block in blocks]


def is_python(block: str) -> bool:
    """Returns true for a block of Python code."""
    try:
        ast.parse(block)
    except SyntaxError:
        return False
    return not COMMAND.match(block)


def is_requests(block: str) -> bool:
    """Returns true for the lines of a file of requests (docs/sampling.md)."""
    return block.startswith('{"')


def split_commands(block: str) -> list[str]:
    """Returns the commands of a block of shell code, without comments; a loop is one command."""
    lines = [re.sub(r"(^|\s+)#\s.*$", "", line) for line in block.splitlines()]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    commands: list[str] = []
    is_loop = False
    for line in filter(str.strip, joined):
        if is_loop:
            commands[-1] += "\n" + line
        elif not LISTED_FILE.match(line):
            commands.append(line)
        is_loop = line.startswith("for ") or (is_loop and line.strip() != "done")
    return commands


def read_commands(text: str) -> list[str]:
    """Returns the commands of a page."""
    blocks = [b for b in read_blocks(text) if not is_python(b) and not is_requests(b)]
    return [command for block in blocks for command in split_commands(block)]
