"""What pages with whole programs show is what happens. `make pages` writes it anew."""

from __future__ import annotations

import pytest

from tests.pages.form import differences
from tests.pages.page import DOCS, Page
from tests.pages.run import missing, running


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["idle-memory.md", "howto/serve.md"])
def test_the_page_shows_what_happens(name: str) -> None:
    if package := missing():
        pytest.skip(f"{package} is not installed: pip install 'outlive[pages]'")
    page = Page((DOCS / name).read_text())
    with running(page) as runner:
        for step in page.steps:
            printed = runner.until(step, lambda lines, step=step: not differences(step.shown, lines))
            assert differences(step.shown, printed) == [], step.command
