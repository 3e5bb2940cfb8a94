"""A real browser for pages: chromium, driven as the WebDriver protocol says (w3.org/TR/webdriver)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LEFT, RIGHT, BACKSPACE = "\ue012", "\ue014", "\ue003"
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_PATIENCE = 300
"""Seconds after which what does not come is not waited for any more; a busy machine takes its time."""


def browser_found() -> bool:
    """Whether chromium and its driver are installed."""
    return bool(_chromium() and shutil.which("chromedriver"))


class Browser:
    """One window. Files that a page downloads go into ``downloads``."""

    def __init__(self, address: str, session: str, downloads: Path) -> None:
        self._base = f"{address}/session/{session}"
        self.downloads = downloads

    def open(self, page: Path) -> None:
        _ask(self._base + "/url", {"url": page.absolute().as_uri()})

    def keys(self, text: str) -> None:
        """Press keys, one after the other, as a keyboard does."""
        strokes = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        _ask(self._base + "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def run(self, script: str) -> Any:
        """What a script returns."""
        return _ask(self._base + "/execute/sync", {"script": script, "args": []})

    def text(self, selector: str) -> str:
        return str(self.run(f"return document.querySelector({json.dumps(selector)}).textContent"))

    def wait_for(self, selector: str, text: str) -> None:
        """Until an element says so; what a page does with a file takes its time."""
        for _ in range(_PATIENCE * 20):
            if (found := self.text(selector)) == text:
                return
            time.sleep(0.05)
        raise AssertionError(f"{selector} says {found!r}, not {text!r}")

    def click(self, selector: str) -> None:
        _ask(f"{self._base}/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Into an element; for a field of files, the path of one."""
        _ask(f"{self._base}/element/{self._find(selector)}/value", {"text": text})

    def saved(self, name: str) -> Path:
        """The file of a download, as soon as it is there; it is moved, so that the next may have its name."""
        path, moved = self.downloads / name, self.downloads / f"{time.monotonic_ns()}-{name}"
        for _ in range(_PATIENCE * 20):
            if path.is_file():
                return path.rename(moved)
            time.sleep(0.05)
        raise AssertionError(f"{name} was not downloaded: {list(self.downloads.iterdir())}")

    def errors(self) -> list[str]:
        """What the page complained about."""
        told = _ask(self._base + "/se/log", {"type": "browser"})
        return [entry["message"] for entry in told if entry["level"] == "SEVERE"]

    def _find(self, selector: str) -> str:
        found = _ask(self._base + "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser whose profile and downloads are in ``folder``."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert driver.stdout is not None
    try:
        started = next(m for line in driver.stdout if (m := re.search(r"on port (\d+)\.", line)))
        address = f"http://127.0.0.1:{started[1]}"
        downloads = folder / "downloads"
        downloads.mkdir(parents=True)
        options = {
            "binary": _chromium(),
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-dev-shm-usage",
                f"--user-data-dir={folder / 'profile'}",
            ],
            "prefs": {"download.default_directory": str(downloads)},
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = _ask(address + "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            yield Browser(address, session, downloads)
        finally:
            _ask(f"{address}/session/{session}", None, "DELETE")
    finally:
        driver.terminate()
        driver.wait(_PATIENCE)
        driver.stdout.close()


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


def _ask(url: str, body: Any, method: str = "POST") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        return json.load(answer)["value"]
