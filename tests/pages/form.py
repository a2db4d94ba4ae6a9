"""Whether two outputs of one command agree: the same words, and figures that may differ from run to run.

Ids, pids, times and the width of columns may differ. Sizes agree within a quarter, small ones within 16 MiB. All other
numbers are exact.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"\b(?P<number>\d+(?:\.\d+)?) (?P<unit>B|KiB|MiB|GiB)(?![\w])")
_LOOSE = (
    (re.compile(r"\b[0-9a-f]{8,}\b"), "ID"),
    (re.compile(r"#[0-9a-z]{8}\b"), "#ID"),
    (re.compile(r"\b\d+(?:\.\d+)? (?:us|ms|s|min|h)\b"), "TIME"),
    (re.compile(r"\b\d{3,}\b"), "PID"),
)
_SHARE, _LEAST = 0.25, 16 << 20


def differences(shown: Sequence[str], printed: Sequence[str]) -> list[str]:
    """What differs first, in words; empty if they agree. Where a line is broken makes no difference.

    >>> differences(["pid 4711  96.5 MiB"], ["pid 815", "101 MiB"])
    []
    >>> differences(["4 workers left"], ["3 workers left"])
    ["shown '4 workers left', printed '3 workers left'"]
    >>> differences(["668 MiB came back"], ["68 MiB came back"])
    ['shown 668 MiB, printed 68 MiB']
    """
    old, new = " ".join(shown), " ".join(printed)
    words = list(zip_longest(_words(old), _words(new)))
    for place, (one, other) in enumerate(words):
        if one != other:
            near = words[max(0, place - 5) : place + 6]
            texts = [" ".join(pair[side] or "" for pair in near).strip() for side in (0, 1)]
            return [f"shown {texts[0]!r}, printed {texts[1]!r}"]
    sizes = [(a[0], b[0]) for a, b in zip(_SIZE.finditer(old), _SIZE.finditer(new), strict=True) if not _near(a, b)]
    return [f"shown {one}, printed {other}" for one, other in sizes]


def _words(line: str) -> list[str]:
    text = _SIZE.sub("SIZE", line)
    for pattern, name in _LOOSE:
        text = pattern.sub(name, text)
    return text.split()


def _near(one: re.Match[str], other: re.Match[str]) -> bool:
    old, new = (float(size["number"]) * _UNITS[size["unit"]] for size in (one, other))
    return abs(old - new) <= max(_SHARE * max(old, new), _LEAST)
