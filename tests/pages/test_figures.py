"""No figure in the tables of docs/benchmarks.md is typed by hand."""

from __future__ import annotations

import pytest

from benchmarks import tables


def test_the_tables_are_those_of_the_results() -> None:
    text = tables.PAGE.read_text()
    assert text.count("<!-- figures: ") == len(tables.TABLES)
    assert tables.written(text) == text, "run python -m benchmarks.tables"


def test_a_figure_that_was_changed_by_hand_is_noticed() -> None:
    text = tables.PAGE.read_text()
    changed = text.replace(" us |", " ns |", 1)
    assert changed != text and tables.written(changed) == text


def test_a_row_that_was_never_measured_is_an_error() -> None:
    with pytest.raises(LookupError, match="unheard of"):
        tables._latest(tables.Row("", "unheard of", ""), tables.results())
