"""Two real processes share a file of requests: the items of one process, each written once."""

import json
import re
import socket
import subprocess

import pytest

from tests.support import small_bundle
from tests.support.command import ROOT, command, environment, run_in_process
from tests.support.small_sample import read_files

LINES = ({"seed": 5, "num_samples": 3}, {"seed": 6, "seconds": 0.4})


@pytest.mark.slow
def test_two_processes_sample_the_items_of_one(tmp_path):
    two = tmp_path / "two"
    model = small_bundle.write(tmp_path / "model", lyrics="none", levels=(2,))
    requests = tmp_path / "requests.jsonl"
    requests.write_text("\n".join(map(json.dumps, LINES)))
    words = (f"--model={model}", "--seconds=0.2", f"--requests={requests}")
    run_in_process("sample", *words, f"--output={tmp_path / 'one'}")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"--coordinator=localhost:{free.getsockname()[1]}", "--num_processes=2"
    pair = [
        subprocess.Popen(
            command("sample", *words, f"--output={two}", *place, f"--process_id={rank}"),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=900) for process in pair]
    finally:
        for process in pair:
            process.kill()
    assert [process.returncode for process in pair] == [0, 0], outputs
    page = f"{two}/index.html"
    assert [text for text, _ in outputs] == [f"4 tracks of 2 shapes: {page}\n", ""]
    sampled = [set(re.findall(r"batch \d", messages)) for _, messages in outputs]
    assert all(sampled)
    assert sampled[0].isdisjoint(sampled[1])
    files, expected = read_files(two), read_files(tmp_path / "one")
    for name in ("settings.json", "index.html"):  # the batches
        assert files.pop(name) != expected.pop(name)
    assert files == expected
