"""A headless browser driven over the WebDriver protocol, for tests that look at a page."""

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

import pytest

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",  # Which containers keep too small.
)
_PATIENCE_S = 300.0
# A proxy of the environment cannot lead to this machine's own driver.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


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
        with _DIRECT.open(request, timeout=_PATIENCE_S) as answer:
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
    # It takes a free port by itself: one that was found before could be somebody else's by now.
    with subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            address = f"http://127.0.0.1:{_port(process)}"
            options = {"binary": chromium, "args": [*_FLAGS, f"--user-data-dir={folder / 'profile'}"]}
            wanted = {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            begin = {"capabilities": {"alwaysMatch": wanted}}
            session = Browser(address).call("POST", "/session", begin)["sessionId"]
            window = Browser(f"{address}/session/{session}")
            try:
                yield window
            finally:
                window.call("DELETE", "")
        finally:
            process.terminate()


def _port(driver: subprocess.Popen[str]) -> int:
    """The port on which the driver says that it listens."""
    assert driver.stdout is not None
    told: list[str] = []
    for line in driver.stdout:
        told.append(line)
        if (found := re.search(r"started successfully on port (\d+)", line)) is not None:
            return int(found[1])
    raise AssertionError(f"the browser's driver did not start: {told}")
