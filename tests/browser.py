"""A real headless Chromium, told what to do by its DevTools protocol."""

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from tests.patience import PATIENCE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--remote-debugging-port=0", "--window-size=1280,1000",
)  # fmt: skip
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
FIND = """
(selector, text) => [...document.querySelectorAll(selector)].filter(each => each.checkVisibility()
  && (each.innerText ?? "").trim().startsWith(text) || each.ariaLabel === text && each.checkVisibility())[0]
"""


class Browser:
    """One page of a browser that reaches nothing but this machine."""

    def __init__(self, folder: Path, address: str) -> None:
        assert CHROMIUM
        self._process = subprocess.Popen(
            [CHROMIUM, *OPTIONS, NO_NETWORK, f"--user-data-dir={folder}", "about:blank"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": str(folder)},
        )
        assert self._process.stderr
        found = None
        while not found:
            line = self._process.stderr.readline()
            assert line, "Chromium ended"
            found = re.search(r"DevTools listening on ws://([^/]+)/", line)
        opened = urllib.request.Request(f"http://{found[1]}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(opened, timeout=PATIENCE) as answer:
            target = json.load(answer)["webSocketDebuggerUrl"]
        self._socket = connect(target, open_timeout=PATIENCE, max_size=None, ping_interval=None)
        self._last = 0
        self.requested: list[str] = []
        """Every address that the page has asked for."""
        self.failures: list[str] = []
        """What the page's scripts complained of."""
        for domain in ("Network", "Page", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol, and return its result."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("id") == self._last:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            if message.get("method") == "Runtime.exceptionThrown":
                self.failures.append(json.dumps(message["params"]["exceptionDetails"])[:500])

    def evaluate(self, script: str) -> Any:
        """Return what a script comes to, awaited."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Return what a script comes to as soon as that counts as true."""
        while not (found := self.evaluate(script)):
            time.sleep(0.1)
        return found

    def find(self, selector: str, text: str = "") -> str:
        """Return a script for the first visible element with a selector whose text begins so, once it is there."""
        script = f"({FIND})({json.dumps(selector)}, {json.dumps(text)})"
        self.wait_for(f"!!{script}")
        return script

    def click(self, selector: str, text: str = "") -> None:
        """Click on the middle of an element, as a mouse does."""
        found = self.find(selector, text)
        at = self.evaluate(
            f"(() => {{ const each = {found}; each.scrollIntoView({{block: 'center'}}); "
            "const box = each.getBoundingClientRect(); "
            "return {x: box.x + box.width / 2, y: box.y + box.height / 2} })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def click_until(self, selector: str, text: str, appears: str, with_text: str) -> None:
        """Click, again where what was clicked on has been drawn anew meanwhile, until something appears."""
        there = f"!!({FIND})({json.dumps(appears)}, {json.dumps(with_text)})"
        while not self.evaluate(there):
            self.click(selector, text)
            time.sleep(0.3)

    def type(self, selector: str, text: str) -> None:
        """Type into the first visible element with a selector."""
        self.evaluate(f"{self.find(selector)}.focus()")
        self.call("Input.insertText", text=text)

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"{self.find(selector)}.innerText"))

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@contextmanager
def browser(folder: Path, address: str) -> Iterator[Browser]:
    opened = Browser(folder, address)
    try:
        yield opened
    finally:
        opened.close()
