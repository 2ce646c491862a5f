"""A tuning in a real browser: records are sent, curves and previews come while it trains.

The server is killed midway, and the next one goes on from the last checkpoint.
"""

import re
import signal
import subprocess
import sys

import pytest

from jukejax.common import files
from tests.support.browser import SECONDS, wait_for
from tests.support.command import ROOT
from tests.support.studio_page import Studio

pytestmark = pytest.mark.slow
STEPS = 6  # with a preview after every second one


def write_records(folder):
    """Writes four records; returns their paths."""
    script = ROOT / "launch" / "write_records.py"
    command = [sys.executable, script, f"--output={folder}", "--tracks=4", "--seconds=13"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return sorted(folder.glob("*.flac"))


def read_steps(prior):
    """Returns the steps in the log of a training so far."""
    text = (prior / "metrics.jsonl").read_text() if (prior / "metrics.jsonl").exists() else ""
    return [int(step) for step in re.findall(r'"step": (\d+)', text)]


def list_checkpoints(prior):
    """Returns the steps of the complete checkpoints."""
    return [int(path.name) for path in prior.glob("checkpoints/*") if path.name.isdigit()]


def test_a_tuning_with_curves_and_previews_survives_a_killed_server(
    browser, tmp_path, start_server
):
    root = tmp_path / "projects"
    server = start_server(root)
    studio = Studio(browser, server, root, viewport={"width": 1280, "height": 1200})
    page = studio.page

    studio.tab("Train")
    page.set_input_files("#records input[type=file]", write_records(tmp_path / "records"))
    page.wait_for_selector("#records >> text=.flac")
    page.get_by_role("button", name="Prepare these records").click()
    wait_for(lambda: studio.state()["entries"], "no corpus")
    [corpus] = studio.state()["entries"]
    studio.wait(corpus, "done")

    studio.fill("steps", STEPS)
    page.click("#tune")
    wait_for(lambda: len(studio.state()["entries"]) == 2, "no model")
    [model] = studio.state()["entries"].keys() - {corpus}
    prior = root / "first-project" / "models" / model / "prior"
    page.wait_for_selector("#preview audio", timeout=1000 * SECONDS)
    assert page.locator("#preview").inner_text().startswith("What the model played after step 2,")
    page.wait_for_function("document.querySelector('#curves svg, #curves canvas')")
    assert studio.faults == []

    wait_for(lambda: max(list_checkpoints(prior), default=0) >= 3, "no checkpoint of step 3")
    page.goto("about:blank")
    studio.faults.clear()  # Gradio's own requests are aborted when their page is left
    server.end(signal.SIGKILL)
    seen = max(read_steps(prior))
    assert seen < STEPS, "the training ended before the server was killed"
    server = start_server(root, server.port)
    studio.open(server)
    studio.wait(model, "done")
    log = "".join(path.read_text() for path in sorted((root / "jobs").glob("*.log")))
    assert re.search(r"continuing from step [3-5]", log)

    studio.tab("Train")
    page.wait_for_function(
        f"document.querySelector('#preview').innerText.includes('after step {STEPS},')"
    )
    address = page.get_attribute("#preview audio", "src")
    assert page.request.get(server.address.rstrip("/") + address).body()[:4] == b"RIFF"
    levels = files.read_json(prior.parent / "bundle" / "model.json")["levels"]
    assert len(levels) == 3
    assert studio.faults == []
    assert "Traceback" not in server.log.read_text()
