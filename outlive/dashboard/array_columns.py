"""Arrays in the table: what they can be sorted by."""

from __future__ import annotations

SORTABLE = ("key", "nbytes", "put_at", "node", "replicas", "dtype")
