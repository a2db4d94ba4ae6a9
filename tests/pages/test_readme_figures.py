"""No figure in the README's tables is typed by hand."""

from __future__ import annotations

import pytest

from benchmarks import readme


def test_the_tables_are_those_of_the_results() -> None:
    text = readme.README.read_text()
    assert text.count("<!-- figures: ") == len(readme.TABLES)
    assert readme.written(text) == text, "run python -m benchmarks.readme"


def test_a_figure_that_was_changed_by_hand_is_noticed() -> None:
    text = readme.README.read_text()
    changed = text.replace(" us |", " ns |", 1)
    assert changed != text and readme.written(changed) == text


def test_a_row_that_was_never_measured_is_an_error() -> None:
    with pytest.raises(LookupError, match="unheard of"):
        readme._latest(readme.Row("", "unheard of", ""), readme.results())
