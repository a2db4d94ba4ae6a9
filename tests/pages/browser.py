"""A browser without a window: what a page of the site holds once its scripts have run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

NAME = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), "")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # there is no network
    "--virtual-time-budget=20000",  # milliseconds of the page's own clock
)


def shown(page: Path, query: str, folder: Path) -> str:
    """The elements of a page that is opened from its folder, with `?query`. `folder` is for the browser's own files."""
    command = [NAME, *_OPTIONS, f"--user-data-dir={folder}", "--dump-dom", f"file://{page}?{query}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout
