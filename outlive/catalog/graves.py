"""Graves: what was deleted while a dead node may have it, or earlier arrays of its key, and has told no catalog.

Such a node is a *stray*: it died before a catalog that had just started had heard from it, so nobody knows what it had.
Its shelf may be adopted. Graves are kept in pages, so that only changed pages are saved.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from outlive.catalog.paging import Name, Paged

_MOST = 100_000  # keys


class Graves:
    """The strays of this catalog and of former ones, and of each key that was deleted since the latest version."""

    def __init__(self) -> None:
        self.strays: set[str] = set()
        self.saved_strays: set[str] = set()
        self.saved_pages: list[int] = []
        self._versions = OrderedDict[Name, int]()  # by store and key
        self._paged = Paged()

    def add(self, name: Name, version: int) -> None:
        """Note that no array of a key is to come back that is no later than this version."""
        if self._versions.get(name, 0) >= version:
            return
        self._versions[name] = version
        self._versions.move_to_end(name)
        self._paged.put(name)
        while len(self._versions) > _MOST:
            self._remove(next(iter(self._versions)))

    def _remove(self, name: Name) -> None:
        del self._versions[name]
        self._paged.remove(name)

    def forget_strays(self, is_known: Callable[[str], bool]) -> None:
        """Forget the strays that are not known any more, and all graves with the last of them."""
        if not self.strays:
            return
        self.strays = set(filter(is_known, self.strays))
        if not self.strays:
            for name in list(self._versions):
                self._remove(name)

    @property
    def changed(self) -> bool:
        """Whether there are changes that are not saved."""
        return self._paged.changed or self.strays != self.saved_strays

    @property
    def pages(self) -> list[int]:
        """The pages that are not empty."""
        return self._paged.numbers

    def take_changed(self) -> dict[int, list[tuple[str, str, int]]]:
        """The pages that changed since the last call, and what is on them now: store, key, version."""
        changed = self._paged.take_changed().items()
        return {page: [(*name, self._versions[name]) for name in names] for page, names in changed}

    def changed_again(self, pages: Iterable[int]) -> None:
        """Note that pages could not be saved."""
        self._paged.changed_again(pages)
