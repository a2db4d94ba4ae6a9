"""Makes the pictures of docs/howto/dashboard.md: `python -m tests.dashboard.pictures`. It needs chromium."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.dashboard.browser import browser
from tests.dashboard.played import Played
from tests.dashboard.serving import served
from tests.pages.page import DOCS

SIZE = 1000, 560

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, served(Played(hostile=False)) as one, browser(Path(folder)) as page:
        page.size(*SIZE)
        page.open(one.opened)
        page.until("document.querySelectorAll('.workers .row').length > 5")
        page.shot(DOCS / "dashboard-workers.png")
