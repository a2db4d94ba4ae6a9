"""The index: which key is which array, and in which order keys change. Plain data, no I/O; the catalog serves it.

It can be rebuilt from the segments alone: of several arrays with one key, the one with the highest version is current.
For that to be right at every moment, an array that was overwritten is *superseded* here until its file is gone, and a
key that is being deleted stays listed, as `doomed`, until its files are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from outlive.arrays.info import ArrayInfo


@dataclass(slots=True)
class Entry:
    """The current array of a key."""

    info: ArrayInfo
    node: str
    doomed: bool = False  # being deleted: readers may still find it, or no longer
    superseded: list[Holding] = field(default_factory=list)  # older arrays of this key whose files may still be there


class Holding(NamedTuple):
    """An array's file on a node's shelf."""

    array_id: str
    node: str


class Replacement(NamedTuple):
    """`old` is to be dropped once `new` is sealed: were both lost, the key would be."""

    old: Holding
    new: Holding
    store: str
    key: str


class Index:
    """All keys of all stores of one cluster."""

    def __init__(self) -> None:
        self._stores: dict[str, dict[str, Entry]] = {}
        self._listed: dict[str, tuple[str, str]] = {}  # id -> store, key

    # --- changes

    def bind(self, infos: list[ArrayInfo], node: str) -> int | list[Replacement]:
        """Make each array the current one of its key: all of them, or none.

        Returns what is to be dropped; or, if a current array is as new as the one that shall replace it, the version
        that all must exceed (the writer's clock is behind: it restamps and asks again). Asking twice is harmless.
        """
        behind = 0
        for info in infos:
            current = self.find(info.store, info.key or "")
            if current is not None and current.info.id != info.id and current.info.version >= info.version:
                behind = max(behind, current.info.version)
        if behind:
            return behind
        replaced = [self.admit(info, node) for info in infos]
        return [replacement for some in replaced for replacement in some]

    def admit(self, info: ArrayInfo, node: str) -> list[Replacement]:
        """List an array found on a shelf. The older of it and the current one is superseded."""
        assert info.key is not None
        keys = self._stores.setdefault(info.store, {})
        new, current = Entry(info, node), keys.get(info.key)
        if current is not None and current.info.id == info.id:
            return []
        if current is not None:
            if current.info.version > info.version:
                new, current = current, new
            older = [*current.superseded, Holding(current.info.id, current.node)]
            # One that was listed before and was restamped since is not older than itself.
            new.superseded += [holding for holding in older if holding.array_id != new.info.id]
            self._listed.pop(current.info.id, None)
        keys[info.key] = new
        self._listed[new.info.id] = info.store, info.key
        newest = Holding(new.info.id, new.node)
        return [Replacement(old, newest, info.store, info.key) for old in new.superseded]

    def dropped(self, replacement: Replacement) -> None:
        """The file of a superseded array is gone."""
        entry = self.find(replacement.store, replacement.key)
        if entry is not None and replacement.old in entry.superseded:
            entry.superseded.remove(replacement.old)

    def doom(self, store: str, keys: Iterable[str]) -> list[tuple[str, list[Holding]]]:
        """Begin to delete: the keys that exist, each with all files that have to go before `unbind`."""
        found = []
        for key in keys:
            entry = self.find(store, key)
            if entry is not None:
                entry.doomed = True
                found.append((key, [*entry.superseded, Holding(entry.info.id, entry.node)]))
        return found

    def unbind(self, store: str, key: str, array_id: str) -> bool:
        """End a deletion, unless the key was bound anew meanwhile."""
        entry = self.find(store, key)
        if entry is None or entry.info.id != array_id:
            return False
        del self._stores[store][key]
        self._listed.pop(array_id, None)
        if not self._stores[store]:
            del self._stores[store]
        return True

    def forget(self, node: str) -> None:
        """Unlist all that is on a node."""
        for store, keys in list(self._stores.items()):
            for key, entry in list(keys.items()):
                entry.superseded = [holding for holding in entry.superseded if holding.node != node]
                if entry.node == node:
                    self.unbind(store, key, entry.info.id)

    # --- questions

    def find(self, store: str, key: str) -> Entry | None:
        return self._stores.get(store, {}).get(key)

    def keys(self, store: str, prefix: str = "") -> list[str]:
        return [
            key for key, entry in self._stores.get(store, {}).items() if key.startswith(prefix) and not entry.doomed
        ]

    def entries(self, store: str, prefix: str = "") -> Iterator[Entry]:
        for key in self.keys(store, prefix):
            yield self._stores[store][key]

    def all_entries(self) -> Iterator[Entry]:
        return itertools.chain.from_iterable(keys.values() for keys in self._stores.values())

    def count(self, store: str) -> int:
        return sum(not entry.doomed for entry in self._stores.get(store, {}).values())

    def stores(self) -> list[str]:
        return sorted(self._stores)

    def place(self, array_id: str) -> tuple[str, str] | None:
        """Store and key of a current array."""
        return self._listed.get(array_id)

    def lists(self, array_id: str) -> bool:
        return array_id in self._listed

    def some_keys(self, store: str, like: str, limit: int) -> list[str]:
        """Up to `limit` keys, first those that begin as `like` does."""
        head = like[: len(like) // 2]
        near = list(itertools.islice((key for key in self._stores.get(store, ()) if key.startswith(head)), limit))
        rest = (key for key in self._stores.get(store, ()) if not key.startswith(head))
        return near + list(itertools.islice(rest, limit - len(near)))
