"""Paging: names on numbered pages, so that only the pages are saved on which something has changed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

PAGES = 256
Name = tuple[str, str]


class Paged:
    """Names, each on the page that its checksum says, and the pages that changed."""

    def __init__(self) -> None:
        self._pages: dict[int, dict[Name, None]] = {}
        self._changed: set[int] = set()

    def put(self, name: Name) -> None:
        """Note that a name has come, or that what is saved of it has changed."""
        self._pages.setdefault(_page(name), {})[name] = None
        self._changed.add(_page(name))

    def remove(self, name: Name) -> None:
        page = self._pages[_page(name)]
        del page[name]
        if not page:
            del self._pages[_page(name)]
        self._changed.add(_page(name))

    @property
    def changed(self) -> bool:
        """Whether there are changes that are not saved."""
        return bool(self._changed)

    @property
    def numbers(self) -> list[int]:
        """The pages that are not empty."""
        return sorted(self._pages)

    def take_changed(self) -> dict[int, list[Name]]:
        """The pages that changed since the last call, and the names that are on them now."""
        changed, self._changed = self._changed, set()
        return {page: list(self._pages.get(page, ())) for page in sorted(changed)}

    def changed_again(self, pages: Iterable[int]) -> None:
        """Note that pages could not be saved."""
        self._changed.update(pages)


def _page(name: Name) -> int:
    return zlib.crc32("\0".join(name).encode()) % PAGES
