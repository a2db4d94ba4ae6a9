"""The latest: what was noted last, as much as is remembered at all."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

_T = TypeVar("_T")
_MOST = 100_000


# Not a dict: the first of that is the slower to be found the more were before it.
class Latest(OrderedDict[_T, None]):
    """A set that forgets the first of more than 100,000 items, in the order in which they were new to it."""

    def add(self, item: _T) -> None:
        self[item] = None
        while len(self) > _MOST:
            self.popitem(last=False)
