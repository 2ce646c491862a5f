"""Bad files: sound, tables, JSON, weights and codes, each damaged in one place."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.drills.verdicts import Verdict, judge_refusal
from tests.drills.workspace import Workspace
from tests.support.command import call_in_process
from tests.support.sound_files import CODECS, damage, make_song, write_file

LARGE = 10**9


def run_drills(workspace: Workspace) -> list[Verdict]:
    """Runs all drills of this module."""
    return [
        *drill_sounds(workspace),
        *drill_tables(workspace),
        *drill_json(workspace),
        *drill_weights(workspace),
        *drill_codes(workspace),
    ]


# -- Sound ---------------------------------------------------------------------------------------


def drill_sounds(workspace: Workspace) -> Iterator[Verdict]:
    """Prepares a folder of damaged files among good ones; then gives each to other commands."""
    folder = workspace.copy(workspace.music)
    damaged = {}
    for suffix in CODECS:
        for kind in ("cut", "hole", "missing"):
            if (suffix, kind) == (".ac3", "cut"):
                continue  # declares no length
            path = folder / f"{kind}{suffix}"
            write_file(path, make_song(6.0, rate=48000), 48000)
            damage(path, kind)
            damaged[path.name] = path
    output = workspace.new_path()
    done = call_in_process(
        "prepare", f"--input={folder}", f"--output={output}", "--separator=none", "--workers=1"
    )
    table = json.loads((output / "corpus.json").read_text())
    reasons = {row["file"]: row["reason"] for row in table["files"] if row["fate"] == "skipped"}
    for name in damaged:
        reason = reasons.get(name, "")
        fault = "" if "truncated" in reason or "damaged" in reason else "not refused"
        yield Verdict("file", "prepare", name, fault, reason)
    used = {row["file"] for row in table["files"] if row["fate"] != "skipped"}
    good = {path.name for path in workspace.music.iterdir()}
    fault = "" if used == good and done.returncode == 0 else f"uses {sorted(used)}"
    yield Verdict("file", "prepare", "the good files beside them", fault)
    for name in list(damaged)[::4]:
        path = damaged[name]
        yield judge_refusal(
            "file", name, "sample", [f"--prompt={path}", "--mode=primed",
            *workspace.sample_flags(workspace.new_path())], culprit=name,
        )  # fmt: skip
        yield judge_refusal(
            "file", name, "evaluate",
            [f"--input={path}", f"--output={workspace.new_path()}"], culprit=name,
        )  # fmt: skip


# -- Tables --------------------------------------------------------------------------------------

TABLES = {
    "a comma in a name": ("file,artist,genre\n0.wav,Earth, Wind & Fire,Disco\n", "line 2"),
    "an open quote": ('file,artist\n0.wav,"A\n1.wav,B\n', "line 2"),
    "a file twice": ("file,artist\n0.wav,A\n0.wav,B\n", "line 3"),
    "a long field": (f"file,artist\n0.wav,{'x' * 200_000}\n", "line 2"),
    "semicolons": ("file;artist\n0.wav;A\n", "columns"),
    "no header": ("0.wav,A,House\n", "columns"),
    "an empty file": ("", "columns"),
    "no name": ("file,artist\n,A\n", "line 2"),
    "a NUL": ("file,artist\n0.wav,A\0B\n", "line 2"),
}


def drill_tables(workspace: Workspace) -> Iterator[Verdict]:
    """Gives wrong metadata tables to `prepare`."""
    for case, (text, culprit) in TABLES.items():
        path, output = workspace.new_path("table").with_suffix(".csv"), workspace.new_path()
        path.write_text(text)
        flags = [f"--input={workspace.music}", f"--output={output}", f"--metadata={path}"]
        yield judge_refusal("file", case, "prepare", flags, culprit=culprit, output=output)
    path.write_bytes("file,artist\n0.wav,A\n".encode("utf-16"))
    yield judge_refusal("file", "UTF-16", "prepare", flags, culprit="UTF-8", output=output)


# -- JSON ----------------------------------------------------------------------------------------


def drill_json(workspace: Workspace) -> Iterator[Verdict]:
    """Damages each field of the JSON files that commands read."""
    targets: list[tuple[Path, str, str, Callable[[Path], list[str]]]] = [
        (workspace.bundle, "model.json", "sample", lambda f: _sample(workspace, f)),
        (workspace.bundle, "vqvae/config.json", "sample", lambda f: _sample(workspace, f)),
        (workspace.bundle, "level_2/config.json", "sample", lambda f: _sample(workspace, f)),
        (workspace.codes, "dataset.json", "train", lambda f: _train(workspace, f)),
        (workspace.codes, "vocabulary.json", "train", lambda f: _train(workspace, f)),
        (workspace.audio, "dataset.json", "encode", lambda f: _encode(workspace, f)),
    ]
    for folder, name, verb, make_flags in targets:
        content = json.loads((folder / name).read_text())
        for case, changed in list_changes(content):
            copy = workspace.copy(folder)
            (copy / name).write_text(json.dumps(changed))
            flags = make_flags(copy)
            yield judge_refusal("file", f"{name}: {case}", verb, flags, culprit=Path(name).name)
        for case, data in (
            ("cut", json.dumps(content)[:-20]),
            ("binary", "\x00\x01"),
            ("[]", "[]"),
        ):
            copy = workspace.copy(folder)
            (copy / name).write_text(data)
            flags = make_flags(copy)
            yield judge_refusal("file", f"{name}: {case}", verb, flags, culprit=Path(name).name)


OPTIONAL = {"versions", "license", "provenance", "corpus_hash", "separation", "separator", "name"}
OPTIONAL |= {"fileFormat", "moduleName", "citation", "description", "splits_info", "channels"}
OPTIONAL |= {"codes_hash", "step", "source", "offsets", "vqvae", "sample_rate", "chunk_samples"}


def list_changes(content: dict[str, Any]) -> Iterator[tuple[str, dict]]:
    """Yields what is wrong and the changed JSON: each field removed, and of another type."""
    for key, value in content.items():
        if key in OPTIONAL:
            continue
        yield f"without {key}", {name: v for name, v in content.items() if name != key}
        other = 3 if isinstance(value, (str, list, dict)) else "text"
        yield f"{key}={other!r}", content | {key: other}


def _sample(workspace: Workspace, folder: Path) -> list[str]:
    return [f"--model={folder}", "--seconds=1", f"--output={workspace.new_path()}"]


def _train(workspace: Workspace, folder: Path) -> list[str]:
    flags = workspace.train_flags("prior", workspace.new_path())
    return [*flags[:-1], f"--config.data.folder={folder}", "--dry_run"]


def _encode(workspace: Workspace, folder: Path) -> list[str]:
    return [f"--vqvae={workspace.vqvae}", f"--input={folder}", f"--output={workspace.new_path()}"]


# -- Weights and codes ---------------------------------------------------------------------------


def drill_weights(workspace: Workspace) -> Iterator[Verdict]:
    """Damages weights.safetensors of a bundle, and the shapes in its config."""
    name = "level_2/weights.safetensors"
    whole = (workspace.bundle / name).read_bytes()
    contents = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "header of 2**50 bytes": (2**50).to_bytes(8, "little") + whole[8:],
        "text": b"I am no weights" * 100,
        "NaN": whole[:-4096] + np.full(1024, np.nan, np.float32).tobytes(),
    }
    for case, data in contents.items():
        copy = workspace.copy(workspace.bundle)
        (copy / name).write_bytes(data)
        culprit = "weights.safetensors" if case != "NaN" else "level_2"
        yield judge_refusal(
            "file", f"weights: {case}", "sample", _sample(workspace, copy), culprit=culprit
        )
    for part, keys in (("level_2", ("num_layers", "emb_dim", "seq_len")), ("vqvae", ("width",))):
        for key in keys:
            for value in (LARGE, 0, -1, 2**70):
                copy = workspace.copy(workspace.bundle)
                path = copy / part / "config.json"
                description = json.loads(path.read_text())
                config = description["config"]
                (config if part == "vqvae" else config["transformer"])[key] = value
                path.write_text(json.dumps(description))
                yield judge_refusal(
                    "file", f"{part}: {key}={value}", "sample", _sample(workspace, copy),
                    culprit=part,
                )  # fmt: skip


def drill_codes(workspace: Workspace) -> Iterator[Verdict]:
    """Gives damaged codes.npz to `sample`."""
    source = next(workspace.samples.glob("item_*/codes.npz"))
    with np.load(source) as file:
        codes = {name: file[name] for name in file.files}
    top = codes["level_2"]
    changes = {
        "negative": {"level_2": -top.astype(np.int64) - 1},
        "too large": {"level_2": top + 2000},
        "wraps in 16 bits": {"level_2": top.astype(np.uint64) + 2**32},
        "float": {"level_2": top.astype(np.float32)},
        "two dimensions": {"level_2": top[None]},
        "empty": {"level_2": top[:0]},
        "level 7": {"level_7": top},
        "a name": {"codes": top},
        "objects": {"level_2": np.array([{"a": 1}] * len(top), object)},
    }
    for case, arrays in changes.items():
        path = workspace.new_path("codes").with_suffix(".npz")
        np.savez(path, **arrays, allow_pickle=True)
        flags = [*workspace.sample_flags(workspace.new_path()), "--mode=upsample"]
        yield judge_refusal(
            "file", f"codes: {case}", "sample", [*flags, f"--codes={path}"], culprit=path.name
        )
    path = workspace.new_path("codes").with_suffix(".npz")
    path.write_bytes(source.read_bytes()[:-100])
    yield judge_refusal(
        "file", "codes: cut", "sample", [*flags, f"--codes={path}"], culprit=path.name
    )
