"""A real browser without a window, driven by its own protocol over a pipe: Chromium's DevTools protocol.

It needs no package. Source: https://chromedevtools.github.io/devtools-protocol, and `--remote-debugging-pipe` of
content/browser/devtools/devtools_pipe_handler.cc: JSON messages that end with a NUL, on descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), "")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--remote-debugging-pipe",
    "--no-first-run", "--hide-scrollbars", "--disable-dev-shm-usage", "--lang=en-GB",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # there is no network
)  # fmt: skip
_PATIENCE = 60.0
KEYS = {
    "Enter": ("\r", 13),
    "Escape": ("", 27),
    "Tab": ("", 9),
    "ArrowDown": ("", 40),
    "ArrowUp": ("", 38),
    "End": ("", 35),
}
FAINT = """(() => {
  const rgb = (text) => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const over = (a, b) => [0, 1, 2].map((place) => a[place] * a[3] + b[place] * (1 - a[3])).concat(1);
  const behind = (one) => one ? over(rgb(getComputedStyle(one).backgroundColor), behind(one.parentElement))
    : [255, 255, 255, 1];
  const linear = (one) => (one / 255 <= 0.03928 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4);
  const light = (color) => color.slice(0, 3).map(linear)
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const color = (one) => { const style = getComputedStyle(one);
    if (one instanceof SVGElement) return style.fill;
    return one.placeholder ? getComputedStyle(one, '::placeholder').color : style.color; };
  const faint = (one) => { const ground = behind(one);
    const [a, b] = [light(over(rgb(color(one)), ground)), light(ground)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5; };
  const says = (one) => one.placeholder || [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const seen = (one) => one.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  return [...document.querySelectorAll('body *')].filter((one) => seen(one) && !one.disabled && says(one)
      && !['OPTION', 'NOSCRIPT', 'SCRIPT', 'STYLE', 'TITLE', 'title'].includes(one.tagName)).filter(faint)
    .slice(0, 5).map((one) => `${one.tagName} ${one.id} ${one.className}: ${one.placeholder || one.textContent}`);
})()"""
"""Text, placeholders and the text of plots with less contrast than WCAG 2 asks for at its level AA."""


class Page:
    """One tab."""

    def __init__(self, send: Any, receive: Any) -> None:
        self._write, self._read, self._buffer, self._number = send, receive, b"", 0
        self.said: list[str] = []
        """Errors of scripts, and what the console was told; refused loads too."""
        self.asked: list[str] = []
        """Addresses that were asked for."""
        self._session: str | None = None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command; its result."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], _PATIENCE)[0]:
                raise TimeoutError("the browser does not answer")
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise EOFError("the browser has ended")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.said.append(str(params["exceptionDetails"].get("exception", {}).get("description", params)))
        elif message.get("method") == "Log.entryAdded":
            self.said.append(f"{params['entry']['level']}: {params['entry']['text']}")
        elif message.get("method") == "Runtime.consoleAPICalled":
            self.said.append(str([one.get("value") for one in params["args"]]))
        elif message.get("method") == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        return message

    # --- what a person does

    def open(self, url: str) -> None:
        self("Page.navigate", url=url)

    def size(self, width: int, height: int = 800, *, dark: bool = False) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])

    def eval(self, code: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        found = self("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def until(self, code: str) -> Any:
        """Wait until an expression is true; its value."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(RuntimeError):  # the page is being loaded
                if value := self.eval(code):
                    return value
            if time.monotonic() > deadline:
                shown = self.eval("document.body.innerText.slice(0, 1500)")
                raise TimeoutError(f"not so: {code}\n{shown}\n{self.said}")
            time.sleep(0.05)

    def text(self) -> str:
        return str(self.eval("document.body.innerText"))

    def click(self, name: str, within: str = "body") -> None:
        """Click the button or link whose text begins so: with the mouse, in its middle."""
        seen = f"one.innerText.trim().startsWith({json.dumps(name)}) && !one.disabled && one.checkVisibility()"
        every = f"document.querySelector({within!r}).querySelectorAll('button, a, summary')"
        find = f"[...{every}].find(one => {seen})"
        self.until(f"!!{find}")
        self.eval(f"{find}.scrollIntoView({{block: 'nearest'}})")
        x, y = self.eval(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({find}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        self("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        text, code = KEYS[key]
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self("Input.dispatchKeyEvent", type="keyUp", **about)

    def shot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with one tab. `folder` is for its own files."""
    to_browser, from_us = os.pipe()
    from_browser, to_us = os.pipe()
    shell = 'exec 3<&"$0" 4>&"$1"; shift; exec "$@"'
    command = ["bash", "-c", shell, str(to_browser), str(to_us), NAME, *_OPTIONS, f"--user-data-dir={folder}"]
    process = subprocess.Popen(
        command,
        pass_fds=(to_browser, to_us),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_browser)
    os.close(to_us)
    try:
        page = Page(from_us, from_browser)
        yield page
        with contextlib.suppress(EOFError, OSError):
            page._session = None
            page("Browser.close")
    finally:
        os.close(from_us)
        os.close(from_browser)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
