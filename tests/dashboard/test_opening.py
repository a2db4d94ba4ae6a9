"""Opening the page in a browser: by a file that nobody else can read."""

from __future__ import annotations

import os
import stat
import threading
import webbrowser
from pathlib import Path

import pytest

from outlive.dashboard import browser


def test_a_browser_that_does_not_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for the page, and the server must go on meanwhile."""
    asked, ended = list[str](), threading.Event()
    called = threading.Event()

    def opens(url: str) -> None:
        asked.append(url)
        called.set()
        ended.wait(60)

    monkeypatch.setattr(webbrowser, "open", opens)
    with browser.opened("http://127.0.0.1:1/?token=a&b='\"<"):
        assert called.wait(60)
        path = Path(asked[0].removeprefix("file://"))
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert "?token=a&amp;b=&#x27;&quot;&lt;" in path.read_text()
    assert not path.exists()
    ended.set()
