"""What is lost: arrays whose last copy went with its node. In pages, so that what is written down is what changed."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

from outlive.arrays.info import ArrayInfo

PAGES = 256
Name = tuple[str, str]  # a store and a key; an id, if the array had no key


class Lost(NamedTuple):
    """An array whose last copy went with its node."""

    info: ArrayInfo
    node: str
    at: float  # seconds since 1970


class LostArrays(dict[Name, Lost]):
    """All of a cluster. Changed by assignment, `del` and `pop` alone."""

    def __init__(self) -> None:
        super().__init__()
        self._pages: dict[int, dict[Name, None]] = {}
        self._changed: set[int] = set()

    def __setitem__(self, name: Name, lost: Lost) -> None:
        super().__setitem__(name, lost)
        self._pages.setdefault(_page(name), {})[name] = None
        self._changed.add(_page(name))

    def __delitem__(self, name: Name) -> None:
        super().__delitem__(name)
        page = self._pages[_page(name)]
        del page[name]
        if not page:
            del self._pages[_page(name)]
        self._changed.add(_page(name))

    def pop(self, name: Name, default: Any = None) -> Any:
        """`default` instead of an error."""
        if name not in self:
            return default
        lost = self[name]
        del self[name]
        return lost

    @property
    def pages(self) -> list[int]:
        """Those that are not empty."""
        return sorted(self._pages)

    def take_changed(self) -> dict[int, list[Lost]]:
        """The pages that changed since this was asked, and what is on them now."""
        changed, self._changed = self._changed, set()
        return {page: [self[name] for name in self._pages.get(page, {})] for page in changed}

    def changed_again(self, pages: set[int]) -> None:
        """They could not be written down."""
        self._changed |= pages


def _page(name: Name) -> int:
    return zlib.crc32("\0".join(name).encode()) % PAGES
