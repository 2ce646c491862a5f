"""The page of the studio as a user sees it: fields, tabs and takes, and the folder behind it."""

from jukejax.common import files
from tests.support.browser import wait_for


class Studio:
    """The page as a user sees it, and the folder behind it."""

    def __init__(self, browser, server, root, **context):
        self.root = root
        self.faults: list[str] = []
        self.page = browser.new_context(accept_downloads=True, **context).new_page()
        self.page.set_default_timeout(120_000)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._note)
        self.open(server)

    def _note(self, message) -> None:
        if message.type == "error":
            self.faults.append(f"{message.text} ({message.location.get('url')})")

    def open(self, server, query="") -> None:
        self.page.goto(server.address + query)
        self.page.wait_for_selector("#compose")
        self.page.wait_for_function("document.querySelector('#project input')?.value")

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def fill(self, field: str, value) -> None:
        self.page.fill(f"#{field} input", str(value))
        self.page.press(f"#{field} input", "Tab")

    def compose(self, bars: int, seed: int) -> str:
        self.tab("Compose")
        self.fill("bars", bars)
        self.fill("seed", seed)
        before = set(self.state()["takes"])
        self.page.click("#compose")
        wait_for(lambda: set(self.state()["takes"]) - before, "no take was added")
        return (set(self.state()["takes"]) - before).pop()

    def state(self) -> dict:
        return files.read_json(self.root / "first-project" / "project.json")

    def job(self, take: str) -> dict | None:
        """Returns the last job of a take; None before it is written, which is after the take."""
        jobs = files.read_json_if_any(self.root / "jobs.json").get("jobs", [])
        return next((job for job in reversed(jobs) if job["subject"] == take), None)

    def wait(self, take: str, state: str) -> None:
        def holds() -> bool:
            job = self.job(take)
            if job is None:
                return False
            assert job["state"] != "failed" or state == "failed", job["message"]
            return job["state"] == state

        wait_for(holds, f"{take} did not get to be {state}")

    def select(self, take: str) -> None:
        self.tab("Takes")
        self.page.check(f"#takes input[value={take}]")
        self.page.wait_for_selector(f"studio-player[data-take*='/{take}/'] .sp-name")

    def item(self, take: str):
        return self.root / "first-project" / "takes" / take / "item_000"
