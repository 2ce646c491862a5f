"""The page in a real browser: a take from its sketch to its download, the server killed midway."""

import re
import signal
import subprocess
import sys

import pytest

from tests.support.browser import SECONDS, screenshot_folder, user_environment, wait_for
from tests.support.command import ROOT
from tests.support.studio_page import Studio

pytestmark = pytest.mark.slow
HTML = "<img src=x onerror=window.injected=1>${window.injected=2}{{name}}"


def test_a_take_from_its_sketch_to_its_download(browser, tmp_path, start_server):
    root = tmp_path / "projects"
    server = start_server(root)
    studio = Studio(browser, server, root, viewport={"width": 1280, "height": 900})
    page = studio.page

    # A sketch with a hostile name, which is heard.
    page.fill("#new-name textarea, #new-name input", HTML)
    first = studio.compose(bars=2, seed=1)
    studio.wait(first, "done")
    studio.select(first)
    page.wait_for_function("document.querySelector('.sp-status').textContent.includes('level 2')")
    page.click(".sp-play")
    page.wait_for_function("document.querySelector('studio-player').position > 0.2")
    page.click(".sp-play")

    # Play is pressed before there is a sound, and the first one starts it.
    long = studio.compose(bars=4, seed=2)
    page.wait_for_selector(f"studio-player[data-take*='/{long}/'] .sp-name")
    page.click(".sp-play")
    wait_for(lambda: (studio.item(long) / "stream.wav").exists(), "no first sound")
    page.wait_for_function("document.querySelector('studio-player').position > 0.05")

    # Stopped, resumed, and the server killed in the middle; the closed page changes nothing.
    studio.tab("Queue")
    page.wait_for_selector("#jobs progress")
    page.click("#stop")
    studio.wait(long, "stopped")
    page.wait_for_function("document.querySelector('#job input').value.includes('stopped')")
    page.click("#resume")
    studio.wait(long, "running")
    assert studio.faults == []
    page.goto("about:blank")
    page.wait_for_timeout(500)
    studio.faults.clear()  # Gradio's own requests are aborted when their page is left
    server.end(signal.SIGKILL)
    assert studio.job(long)["state"] == "running"
    server = start_server(root, server.port)
    studio.open(server)
    studio.wait(long, "done")
    arguments = studio.state()["takes"][long]["arguments"]
    whole = [f"--output={tmp_path / 'whole'}" if "--output=" in a else a for a in arguments]
    command = [sys.executable, "-m", "jukejax.sample", *whole]
    subprocess.run(command, cwd=ROOT, env=user_environment(), check=True, capture_output=True)
    expected = (tmp_path / "whole" / "item_000" / "codes.npz").read_bytes()
    assert (studio.item(long) / "codes.npz").read_bytes() == expected

    # Bars drawn again, then the finer levels of the first sketch.
    studio.select(long)
    studio.fill("range-first", 2)
    studio.fill("range-last", 2)
    before = set(studio.state()["takes"])
    page.click("#do-re-roll")
    wait_for(lambda: set(studio.state()["takes"]) - before, "no take was re-rolled")
    [rerolled] = set(studio.state()["takes"]) - before
    assert studio.state()["takes"][rerolled]["parent"] == long
    studio.wait(rerolled, "done")
    studio.select(first)
    page.click("#do-finer")
    wait_for(lambda: len(studio.state()["takes"]) == 4, "no finer take")
    finer = max(studio.state()["takes"])
    studio.wait(finer, "done")
    assert (studio.item(finer) / "level_0.wav").exists()

    # Judged against a corpus.
    studio.tab("Train")
    page.get_by_role("button", name=re.compile("embedded synthetic")).click()
    studio.fill("house-tracks", 4)
    studio.fill("house-seconds", 10)
    page.click("#prepare-house")
    wait_for(lambda: studio.state()["entries"], "no corpus")
    [corpus] = studio.state()["entries"]
    studio.wait(corpus, "done")
    studio.select(finer)
    page.get_by_label("Corpus to search").click()
    page.get_by_role("option", name=re.compile("synthetic house")).click()
    page.click("#judge")
    page.wait_for_selector("text=Audit:", timeout=1000 * SECONDS)
    page.wait_for_selector("text=loudness")

    # Downloaded, renamed by a hostile name, deleted and brought back.
    with page.expect_download() as download:
        page.click(".sp-wav")
    assert download.value.path().read_bytes()[:4] == b"RIFF"
    page.fill("#name textarea, #name input", f"{HTML} 2")
    page.click("#rename")
    wait_for(lambda: studio.state()["takes"][finer]["name"] == f"{HTML} 2", "not renamed")
    page.wait_for_function("document.querySelector('#takes').textContent.includes('{{name}} 2')")
    page.click("#delete")
    wait_for(lambda: studio.state()["takes"][finer]["is_deleted"], "not deleted")
    page.click("#undo")
    wait_for(lambda: not studio.state()["takes"][finer]["is_deleted"], "not restored")
    assert page.evaluate("window.injected") is None
    assert studio.faults == []

    shots = screenshot_folder(tmp_path / "shots")
    studio.select(finer)
    page.screenshot(path=shots / "takes_light.png")
    for name, context in (
        ("wide_dark", {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"}),
        ("phone_light", {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"}),
        ("phone_dark", {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}),
    ):
        other = Studio(browser, server, root, **context)
        for tab in ("Compose", "Takes", "Queue", "Train"):
            if other.page.get_by_role("tab", name=tab).is_visible():
                other.tab(tab)
            width = other.page.evaluate("document.documentElement.scrollWidth")
            assert width <= context["viewport"]["width"], f"{tab} is {width} pixels wide"
            if tab == "Takes":
                other.page.wait_for_selector(".sp-name")
            other.page.wait_for_timeout(1500)
            other.page.screenshot(path=shots / f"{tab.lower()}_{name}.png", full_page=True)
        assert other.faults == []
    assert "Traceback" not in server.log.read_text()
    assert server.end() == 143


def test_the_page_is_reached_by_keyboard(browser, tmp_path, start_server):
    root = tmp_path / "projects"
    server = start_server(root)
    studio = Studio(browser, server, root, viewport={"width": 1280, "height": 900})
    where = "document.activeElement.closest('#project, #bpm, #bars, #compose')?.id"
    reached = []
    while "compose" not in reached and len(reached) < 80:
        studio.page.keyboard.press("Tab")
        reached.append(studio.page.evaluate(where))
    assert {"project", "bpm", "bars", "compose"} <= set(reached)
    studio.page.keyboard.press("Enter")
    wait_for(lambda: studio.state()["takes"], "Enter on the button did not compose")
    assert studio.faults == []
