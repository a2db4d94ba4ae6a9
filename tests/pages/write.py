"""Run as a program, with the names of pages: runs their commands and writes into them what these print now."""

from __future__ import annotations

import sys
import time

from tests.pages.page import DOCS, Page
from tests.pages.run import running

_SETTLES = 3.0  # seconds; the GCS learns a second late what a task was


def main(names: list[str]) -> None:
    for name in names:
        path = DOCS / name
        page = Page(path.read_text())
        with running(page) as runner:
            outputs = []
            for step in page.steps:
                if step.looks:
                    time.sleep(_SETTLES)
                outputs.append(runner.printed(step))
        path.write_text(page.with_outputs(outputs).text)


if __name__ == "__main__":
    main(sys.argv[1:])
