"""Joining lines that a terminal or a mail program broke at a fixed width."""

from __future__ import annotations

import re

_NARROWEST, _WIDEST = 60, 500
_USUAL = frozenset({72, 78, 79, 80, 100, 120, 132, 140, 160, 200})
_BEGINS_ANEW = re.compile(
    r"\s*(?:$|ray\.exceptions\.\w+:|Traceback \(most|File \"|The actor (?:is|died)|Memory on the node|PID\t|"
    r"\[?\d{4}-\d\d-\d\d|"
    r"\((?:raylet|autoscaler|[^()]{1,80}[ =]pid=)|\{\"|> |(?:class_name|actor_id|pid|namespace|ip|name): |"
    r"[A-Za-z_][\w.]*(?:Error|Exception): )"
)


def joins(texts: list[str]) -> list[int]:
    """The indices in `texts` of lines that go on in the next one; none unless lines were broken at a fixed width.

    Lines were broken if none is longer than the width, several are exactly as long (for a usual width: one), and a word
    was broken. If there are only one or two breaks, all between words, that cannot be told.
    """
    width = max(map(len, texts), default=0)
    if not _NARROWEST <= width <= _WIDEST:
        return []
    full = [
        at
        for at, text in enumerate(texts[:-1])
        if len(text) == width
        and (text[-1].isalnum() or len(set(text[-8:])) > 1)
        and not _BEGINS_ANEW.match(texts[at + 1])
        and _begin(text) != _begin(texts[at + 1])  # both are in a frame, or of the same kind
    ]
    words = sum(" " not in texts[at][-1] + texts[at + 1][0] for at in full)
    return full if len(full) >= 3 or (words and (len(full) == 2 or width in _USUAL)) else []


def _begin(text: str) -> str:
    return re.sub(r"\d", "0", text[:8])
