"""Opening the page in a browser of this machine, without the token in any command line: `ps` shows these to all."""

from __future__ import annotations

import contextlib
import html
import os
import tempfile
import threading
import webbrowser
from collections.abc import Iterator


def has_one() -> bool:
    """Whether this process can show a window."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def opened(url: str) -> Iterator[None]:
    """Open a file of this user's that leads to the page. It is removed after the block."""
    fd, path = tempfile.mkstemp(prefix="outlive-dashboard-", suffix=".html")  # 0600
    try:
        with os.fdopen(fd, "w") as file:
            file.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(url)}">\n')
        # it may wait for the browser, and that for the page
        threading.Thread(target=webbrowser.open, args=(f"file://{path}",), daemon=True).start()
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
