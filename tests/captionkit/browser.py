"""A headless browser driven over the WebDriver protocol, for tests that look at a page."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_PATIENCE_S = 30.0


class Browser:
    """One window of a browser."""

    def __init__(self, address: str) -> None:
        self._address = address

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the protocol, and its answer."""
        request = urllib.request.Request(
            self._address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
            return json.load(answer)["value"]

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Show a page at this size, to somebody who likes it light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setDeviceMetricsOverride", size)
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.call("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """What a script on the page returns."""
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, script: str) -> None:
        """Wait until a script returns something true."""
        until = time.monotonic() + _PATIENCE_S
        while not self.run(f"return {script}"):
            assert time.monotonic() < until, f"never became true: {script}"
            time.sleep(0.05)

    def console(self) -> list[str]:
        """What the console has been told since the last time: warnings and errors, ours and the browser's."""
        lines = self.call("POST", "/se/log", {"type": "browser"})
        return [f"{line['level']} {line['message']}" for line in lines]

    def _devtools(self, command: str, parameters: dict[str, Any]) -> None:
        self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser whose files lie in `folder`; without chromium and its driver the test is skipped."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL)
    window = Browser(f"http://127.0.0.1:{port}")
    try:
        _wait_for(window)
        options = {"binary": chromium, "args": [*_FLAGS, f"--user-data-dir={folder / 'profile'}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = window.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        window = Browser(f"http://127.0.0.1:{port}/session/{session}")
        try:
            yield window
        finally:
            window.call("DELETE", "")
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(driver: Browser) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            driver.call("GET", "/status")
            return
        except OSError:
            assert time.monotonic() < until, "the browser's driver did not start"
            time.sleep(0.05)
