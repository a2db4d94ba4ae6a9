"""Latest: a set of limited size."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

_T = TypeVar("_T")


# Not a dict: it finds its first item more and more slowly after many have been removed.
class Latest(OrderedDict[_T, None]):
    """A set of up to `most` items: an item more makes it forget the one that was added first."""

    most = 100_000

    def add(self, item: _T) -> None:
        self[item] = None
        while len(self) > self.most:
            self.popitem(last=False)
