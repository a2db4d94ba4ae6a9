"""A table as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> Iterator[str]:
    """The lines of a table, header first. `right`: the columns to align right; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join([*cells[:-1], row[-1]])
