"""What docs/idle-memory.md shows is what happens. `make pages` writes it anew."""

from __future__ import annotations

import pytest

from tests.pages.form import differences
from tests.pages.page import DOCS, Page
from tests.pages.run import missing, running


@pytest.mark.timeout(600)
def test_the_page_shows_what_happens():
    if package := missing():
        pytest.skip(f"{package} is not installed: pip install 'outlive[pages]'")
    page = Page((DOCS / "idle-memory.md").read_text())
    with running(page) as runner:
        for step in page.steps:
            printed = runner.until(step, lambda lines, step=step: not differences(step.shown, lines))
            assert differences(step.shown, printed) == [], step.command
