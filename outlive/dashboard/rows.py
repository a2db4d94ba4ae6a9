"""Windows of large tables: the server filters, sorts and cuts, and the browser has what it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

MOST = 200  # rows in one answer

Row = dict[str, Any]


class BadRequest(ValueError):
    """A parameter that cannot be used. The message says which."""


def window(
    rows: Sequence[Row],
    *,
    offset: int = 0,
    limit: int = 100,
    sort: str = "",
    descending: bool = False,
    keep: Callable[[Row], bool] | None = None,
    sortable: Sequence[str] = (),
) -> dict[str, Any]:
    """Some rows of a table, and how many there are: `rows`, `offset`, `total` (that are kept) and `all`.

    Rows that lack what they are sorted by come last.

    Raises
    ------
    BadRequest
        It cannot be sorted by that, or the window is no window.
    """
    if offset < 0 or not 0 < limit <= MOST:
        raise BadRequest(f"offset is 0 or more, and limit 1 to {MOST}")
    if sort and sort not in sortable:
        raise BadRequest(f"sort is one of {', '.join(sortable)}, not {sort!r:.50}")
    kept = list(rows) if keep is None else [row for row in rows if keep(row)]
    if sort:
        known = [row for row in kept if row[sort] is not None]
        known.sort(key=lambda row: row[sort], reverse=descending)
        kept = known + [row for row in kept if row[sort] is None]
    return {"rows": kept[offset : offset + limit], "offset": offset, "total": len(kept), "all": len(rows)}


def whole(text: str | None, default: int, name: str) -> int:
    """A whole number from a query. Raises BadRequest."""
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise BadRequest(f"{name} is a whole number, not {text!r:.50}")
    return int(text)
