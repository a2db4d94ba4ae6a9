"""No figure in the tables of README.md and of pages in docs/ is typed by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import tables

ROOT = Path(__file__).parents[2]


def test_the_tables_are_those_of_the_results() -> None:
    texts = [page.read_text() for page in tables.PAGES]
    assert sum(text.count("<!-- figures: ") for text in texts) == len([*tables.TABLES, tables.PROBLEM])
    assert [tables.written(text) for text in texts] == texts, "run python -m benchmarks.tables"


@pytest.mark.parametrize(("page", "figure", "other"), [(0, " MiB |", " KiB |"), (1, " us |", " ns |")])
def test_a_figure_that_was_changed_by_hand_is_noticed(page: int, figure: str, other: str) -> None:
    text = tables.PAGES[page].read_text()
    changed = text.replace(figure, other, 1)
    assert changed != text and tables.written(changed) == text


def test_a_row_that_was_never_measured_is_an_error() -> None:
    with pytest.raises(LookupError, match="unheard of"):
        tables._latest(tables.Row("", "unheard of", ""), tables.results())


def test_the_pictures_are_those_of_the_results() -> None:
    differ = [shown.name for shown, drawn in tables.pictures().items() if shown.read_bytes() != drawn.read_bytes()]
    assert differ == [], "run python -m benchmarks.tables"


def test_a_row_has_the_line_of_its_pages_alone() -> None:
    lines = [("file", {}, {"row": "get", "what": "get", "state": "", **pages}) for pages in ({"pages": "2 MiB"}, {})]
    small, large = (tables._latest(tables.Row("", "get", "get", pages=each), lines) for each in ("4 KiB", "2 MiB"))
    assert (small, large) == (lines[1], lines[0]), "files of before have no pages: these were of 4 KiB"


@pytest.mark.parametrize(("other", "said"), [(1e-3, "0.5, LMDB is faster"), (6e-3, "3.0")])
def test_a_row_says_that_the_other_side_is_faster(other: float, said: str) -> None:
    line = {"unit": "s", "summary": {"outlive": {"median": 2e-3}, "ray": {"median": other}}}
    assert tables._cells(tables.Row("", "", "", beside="LMDB"), line)[2] == said


def test_benchmarks_are_not_set_up_as_tests_are() -> None:
    """`tests.conftest` has the catalog validate itself after each step, and Ray start without its agents."""
    program = "import sys, benchmarks.__main__; print(*(name for name in sys.modules if name.endswith('conftest')))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "\n"
