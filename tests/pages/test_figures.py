"""No figure in the tables of README.md and of pages in docs/ is typed by hand."""

from __future__ import annotations

import pytest

from benchmarks import tables


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
