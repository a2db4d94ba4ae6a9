"""Workers in the table: what they are sorted by, found by, and their totals. It loads no Ray."""

from __future__ import annotations

from typing import Any

SORTABLE = ("unique", "idle_for", "owned", "tasks", "pid", "node", "job", "state", "function")
_SEARCHED = ("pid", "title", "function", "kind", "id", "job")


def mentions(row: dict[str, Any], text: str) -> bool:
    """Whether a row has this text in its pid, title, last function, reason, id or job."""
    wanted = text.lower()
    return not wanted or any(wanted in str(row[name] or "").lower() for name in _SEARCHED)


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all workers: how many, how many idle ones, what would come back with these, and how many for which reason."""
    idle = [row for row in rows if row["state"] in {"idle", "leaving"}]
    kinds: dict[str, list[int]] = {}
    for row in idle:
        kind = kinds.setdefault(row["kind"] or "?", [0, 0])
        kind[0] += 1
        kind[1] += row["unique"] or 0
    return {
        "workers": len(rows),
        "idle": len(idle),
        "unique": sum(row["unique"] or 0 for row in rows),
        "idle_unique": sum(row["unique"] or 0 for row in idle),
        "free": sum(row["unique"] or 0 for row in idle if row["retirable"]),
        "owned": sum(row["owned"] for row in rows),
        "kinds": dict(sorted(kinds.items(), key=lambda one: -one[1][1])),
    }
