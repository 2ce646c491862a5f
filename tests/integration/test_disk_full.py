"""A disk that fills up: a small tmpfs in a mount namespace of its own."""

import json
import shutil
import subprocess
import sys

import pytest
import soundfile

from tests.support import small_bundle
from tests.support.command import ROOT, environment
from tests.support.preparation import RATE, contents, music, prepare
from tests.support.small_codes import write_codes

# Prepares on a disk of $SIZE, lists the complete files in the cache, makes room, prepares again.
SCRIPT = """
set -e
mount -t tmpfs -o size=$SIZE none "$DISK"
"$PYTHON" -m jukejax.prepare --input="$MUSIC" --output="$DISK/data" $FLAGS 2>"$OUT/err" && exit 9
[ $? -eq 2 ]
ls "$DISK"/data/.work/*.npy > "$OUT/kept" || true
(cd "$DISK/data"; ls .work/*.tmp .*.tmp dataset.json > "$OUT/litter" 2> "$OUT/none") || true
[ ! -s "$OUT/kept" ] || stat -c '%n %Y %i' $(cat "$OUT/kept") > "$OUT/before"
mount -o remount,size=64m "$DISK"
"$PYTHON" -m jukejax.prepare --input="$MUSIC" --output="$DISK/data" $FLAGS
[ ! -s "$OUT/kept" ] || stat -c '%n %Y %i' $(cat "$OUT/kept") > "$OUT/after"
cp -r "$DISK/data" "$OUT/data"
"""
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = [*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no tmpfs can be mounted in a user namespace here")
@pytest.mark.parametrize(
    ("size", "kept"),
    [
        pytest.param("5m", 2, id="cache"),
        pytest.param("9m", 6, id="shards", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_one_clear_line_and_the_cache_goes_on(tmp_path, size, kept):
    for name in ("music", "disk", "out"):
        (tmp_path / name).mkdir()
    for i in range(6):  # 1.06 MB each
        soundfile.write(tmp_path / "music" / f"{i}.wav", music(seed=i), RATE)
    out = tmp_path / "out"
    variables = {"SIZE": size, "DISK": tmp_path / "disk", "OUT": out, "PYTHON": sys.executable}
    variables |= {"MUSIC": tmp_path / "music", "FLAGS": "--separator=none --workers=1"}
    settings = [f"{name}={value}" for name, value in variables.items()]
    command = [*NAMESPACE, "env", *settings, "sh", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.stdout, done.stderr, (out / "err").read_text())

    lines = [x for x in (out / "err").read_text().splitlines() if x.startswith("error: ")]
    data = tmp_path / "disk" / "data"
    assert lines == [
        f"error: the disk of {data} is full; make room and run again: finished work is kept"
    ]
    assert len((out / "kept").read_text().splitlines()) == kept
    assert (out / "litter").read_text() == ""
    assert (out / "before").read_text() == (out / "after").read_text()

    prepare(f"--input={tmp_path / 'music'}", f"--output={tmp_path / 'roomy'}")
    assert contents(out / "data") == contents(tmp_path / "roomy")
    assert len(json.loads((out / "data" / "corpus.json").read_text())["files"]) == 6


# Runs a command on a disk of $SIZE, which must end with one line; makes room, runs again.
AGAIN = """
set -e
mount -t tmpfs -o size=$SIZE none "$DISK"
"$PYTHON" -m jukejax.$VERB $FLAGS 2>"$OUT/err" && exit 9
[ $? -eq 2 ]
mount -o remount,size=64m "$DISK"
"$PYTHON" -m jukejax.$VERB $FLAGS
cp -r "$DISK/data" "$OUT/data"
"""


def run_twice(tmp_path, verb, size, flags):
    """Runs a command on a disk that is full, then on one with room; returns the files it wrote."""
    data, out = tmp_path / "disk" / "data", tmp_path / "out"
    for folder in (data.parent, out):
        folder.mkdir()
    variables = {"SIZE": size, "DISK": data.parent, "OUT": out, "PYTHON": sys.executable}
    variables |= {"VERB": verb, "FLAGS": flags}
    settings = [f"{name}={value}" for name, value in variables.items()]
    command = [*NAMESPACE, "env", *settings, "sh", "-c", AGAIN]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240
    )
    said = (out / "err").read_text()
    assert done.returncode == 0, (done.stderr, said)
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    line = f"error: the disk of {data} is full; make room and run again: finished work is kept"
    assert lines == [line]
    assert "Traceback" not in said
    names = {str(path.relative_to(out / "data")) for path in (out / "data").rglob("*")}
    assert ".lock" not in names
    return names


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="no tmpfs can be mounted in a user namespace here")
@pytest.mark.parametrize("verb", ["train", "export"])
def test_train_and_export_end_with_one_line_and_go_on(tmp_path, verb):
    data = tmp_path / "disk" / "data"
    if verb == "train":
        codes = write_codes(tmp_path / "codes")
        flags = f"--config=configs/tiny.py:prior --config.data.folder={codes} --workdir={data}"
        assert "summary.json" in run_twice(tmp_path, verb, "900k", flags)
    else:
        flags = f"--workdir={small_bundle.write(tmp_path / 'bundle')} --output={data}"
        assert run_twice(tmp_path, verb, "60k", flags) >= {"model.json", "vqvae", "level_0"}


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="no tmpfs can be mounted in a user namespace here")
@pytest.mark.parametrize("size", ["4k", "60k"], ids=["lock", "pictures"])
def test_evaluate_ends_with_one_line_and_goes_on(tmp_path, size):
    (tmp_path / "music").mkdir()
    for i in range(2):
        soundfile.write(tmp_path / "music" / f"{i}.wav", music(seed=i), RATE)
    flags = f"--input={tmp_path / 'music'} --output={tmp_path / 'disk' / 'data'}"
    names = run_twice(tmp_path, "evaluate", size, flags)
    assert names >= {"evaluate.json", "index.html", "assets/spectrum.png"}
    assert not [name for name in names if name.endswith(".tmp")]
