"""A real browser, driven over a pipe by the DevTools protocol; nothing but the browser is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, number in zip(ends, (3, 4)):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""A program that becomes the browser, which reads commands from 3 and writes to 4."""


class Browser:
    """One tab.

    Args:
        width: Pixels across.
        height: Pixels down.
        dark: Whether the system prefers dark pages.
    """

    def __init__(self, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        theirs, self._write = os.pipe()
        self._read, back = os.pipe()
        self._folder = tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True)
        words = (*SWITCHES, f"--user-data-dir={self._folder.name}", f"--window-size={width},{height}", "about:blank")
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(theirs), str(back), CHROMIUM, *words],
            pass_fds=(theirs, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(back)
        self._rest, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility", "DOM"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        self.prefer(dark=dark)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return what a command of the protocol gives."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        wanted = self._number
        while True:
            found = self._next(60)
            if found.get("id") == wanted:
                assert "error" not in found, f"{method}: {found['error']}"
                result: dict[str, Any] = found["result"]
                return result

    def _next(self, limit_s: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], limit_s)
            assert ready, "the browser is silent"
            self._rest += os.read(self._read, 1 << 20)
        text, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(text)
        if "method" in found:
            self.events.append(found)
        return found

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Give the tab another size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, *, dark: bool) -> None:
        """Say what the system prefers."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)

    def run(self, expression: str) -> Any:
        """Return the value of an expression in the page, a promise's once it is there."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str, limit_s: float = 20.0) -> Any:
        """Return the value of an expression once it is true."""
        end = time.monotonic() + limit_s
        asked = (
            f"(() => {{ try {{ const v = {expression}; return v instanceof Node || v }} catch {{ return null }} }})()"
        )
        while not (value := self.run(asked)):
            text = "document.body ? document.body.innerText.slice(0, 2000) : ''"
            assert time.monotonic() < end, f"never true: {expression}\n{self.run(text)}"
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        """Return the text of a node."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).textContent"))

    def press(self, key: str, code: int) -> None:
        """Press a key and let it go."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def choose(self, selector: str, path: Path) -> None:
        """Put a file into a field."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen as a PNG file."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[str]:
        """Return errors and warnings of the page so far, what it was refused, and dialogs that opened."""
        self.run("1")
        found = []
        for event in self.events:
            method, params = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"])[:500])
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(params["args"])[:500])
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}"[:500])
            elif method == "Page.javascriptDialogOpening":
                found.append(f"dialog: {params['message']}")
        return found

    def requested(self) -> list[str]:
        """Return every address that was asked for."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        try:
            self.call("Browser.close")
            self._process.wait(10)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            os.close(self._read)
            os.close(self._write)
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


@contextmanager
def browser(**settings: Any) -> Iterator[Browser]:
    """Give a tab that is closed afterwards."""
    with Browser(**settings) as made:
        yield made
