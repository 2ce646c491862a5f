"""The page of a listening test in a browser, by keys alone: from the first question to the answers.

Needs Chromium (Debian: apt-get install chromium), else it is skipped.
"""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from jukejax.evaluation.preferences import read_answers, summarize_answers
from jukejax.pages.listening import render_test

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = """<script>
const log = { errors: [] };
addEventListener("error", (event) => log.errors.push(event.message));
const press = (key) =>
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
(async () => {
  await pause();
  press("1");
  press("Enter");
  log.beforePlayed = [answers[0], trial];
  for (const key of KEYS) {
    log.sources = players.map((player) => player.src);
    players.forEach((player) => player.dispatchEvent(new Event("playing")));
    press(key);
    press("Enter");
    await pause();
  }
  log.isEnd = !document.getElementById("end").hidden;
  log.answers = document.getElementById("json").value;
  log.stored = JSON.parse(localStorage.getItem(storageName)).answers;
  log.width = document.documentElement.scrollWidth - innerWidth;
  const element = document.createElement("pre");
  element.id = "log";
  element.textContent = JSON.stringify(log);
  document.body.append(element);
})();
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
@pytest.mark.parametrize(
    ("mode", "trials", "keys", "result"),
    [
        ("ab", [["a0", "b0"], ["b1", "a1"], ["a2", "b2"]], "122", "mine is preferred to theirs: 2"),
        ("rating", [["a0"], ["b0"], ["a1"]], "524", "mine: mean rating 4.50 of 5 over 2 sounds"),
    ],
)
def test_page_is_answered_by_keys(tmp_path, mode, trials, keys, result):
    (tmp_path / "sounds").mkdir()
    for name in {name for trial in trials for name in trial}:
        soundfile.write(tmp_path / f"sounds/{name}.flac", np.zeros(4410), 44100)
    text = render_test(f"test-{mode}", mode, "Which <b>one</b>?", trials)
    assert "<b>" not in text
    driver = DRIVER.replace("KEYS", json.dumps(list(keys)))
    (tmp_path / "index.html").write_text(text.replace("</body>", driver + "</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900"]
    done = subprocess.run(
        [
            BROWSER,
            *options,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            (tmp_path / "index.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    log = json.loads(html.unescape(re.search(r'<pre id="log">(.*?)</pre>', done.stdout, re.S)[1]))
    assert log["errors"] == []
    assert log["beforePlayed"] == [None, 0]
    assert [source.split("/")[-1] for source in log["sources"]] == [
        f"{name}.flac" for name in trials[-1]
    ]
    assert log["isEnd"]
    assert log["stored"] == [int(key) - 1 for key in keys]
    assert log["width"] <= 0  # nothing to scroll sideways
    (tmp_path / "answers.json").write_text(log["answers"])
    clips = {name: {"set": int(name[0] == "b")} for trial in trials for name in trial}
    key = {"test": f"test-{mode}", "mode": mode, "sets": ["mine", "theirs"], "clips": clips}
    key["trials"] = trials
    answers = read_answers(tmp_path / "answers.json", key)
    assert any(line.startswith(result) for line in summarize_answers(key, [answers]))
