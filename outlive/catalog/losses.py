"""Losses: arrays whose last copy went with its node. They are kept in pages, so that only changed pages are saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from outlive.arrays.info import ArrayInfo
from outlive.catalog.paging import Name, Paged


class Lost(NamedTuple):
    """An array whose last copy went with its node."""

    info: ArrayInfo
    node: str
    at: float  # seconds since 1970


class Losses:
    """The losses of a cluster: of each key at most one array, the last."""

    def __init__(self) -> None:
        self._lost: dict[Name, Lost] = {}  # by store and key; by store and id, if the array had no key
        self._names: dict[str, Name] = {}  # by id
        self._paged = Paged()

    def add(self, lost: Lost) -> None:
        name = _name(lost.info)
        if (before := self._lost.get(name)) is not None:
            del self._names[before.info.id]
        self._lost[name], self._names[lost.info.id] = lost, name
        self._paged.put(name)

    def remove(self, info: ArrayInfo) -> Lost | None:
        """Forget the lost array of this array's key, or this array if it has no key; returns what was lost."""
        return self._remove(_name(info))

    def remove_ids(self, array_ids: set[str]) -> list[ArrayInfo]:
        """Forget these arrays; returns those that were lost."""
        names = [self._names[array_id] for array_id in array_ids if array_id in self._names]
        return [lost.info for lost in map(self._remove, names) if lost is not None]

    def _remove(self, name: Name) -> Lost | None:
        lost = self._lost.pop(name, None)
        if lost is not None:
            del self._names[lost.info.id]
            self._paged.remove(name)
        return lost

    def of(self, info: ArrayInfo) -> Lost | None:
        """The lost array of this array's key; of an array without a key, that array."""
        return self._lost.get(_name(info))

    def of_key(self, store: str, key: str) -> Lost | None:
        return self._lost.get((store, key))

    def of_store(self, store: str) -> list[Lost]:
        return [lost for lost in self._lost.values() if lost.info.store == store]

    def by_node(self) -> dict[str, tuple[int, int, float]]:
        """The nodes that took arrays with them: how many arrays, of how many bytes, and when."""
        found: dict[str, tuple[int, int, float]] = {}
        for lost in self._lost.values():
            count, size, _ = found.get(lost.node, (0, 0, 0.0))
            found[lost.node] = count + 1, size + lost.info.nbytes, lost.at
        return found

    def __iter__(self) -> Iterator[Lost]:
        return iter(self._lost.values())

    def __len__(self) -> int:
        return len(self._lost)

    # --- pages

    @property
    def changed(self) -> bool:
        """Whether there are changes that are not saved."""
        return self._paged.changed

    @property
    def pages(self) -> list[int]:
        """The pages that are not empty."""
        return self._paged.numbers

    def take_changed(self) -> dict[int, list[Lost]]:
        """The pages that changed since the last call, and what is on them now."""
        return {page: [self._lost[name] for name in names] for page, names in self._paged.take_changed().items()}

    def changed_again(self, pages: Iterable[int]) -> None:
        """Note that pages could not be saved."""
        self._paged.changed_again(pages)


def _name(info: ArrayInfo) -> Name:
    return info.store, info.key or info.id
