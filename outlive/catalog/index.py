"""The index: which array each key stands for, where its copies are, and in which order keys change. Plain data, no I/O.

The index can be rebuilt from the segments alone: of several arrays with one key, the one with the highest version is
current. For this to be right at every moment, an array that was overwritten is *superseded* until its files are gone,
and a key that is being deleted stays listed, as *doomed*, until its files are gone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from outlive.arrays.info import ArrayInfo
from outlive.catalog.copies import Copies
from outlive.catalog.losses import Losses

_LOOKED_AT = 20_000  # the most keys that `some_keys` looks at


@dataclass(slots=True)
class Entry:
    """The current array of a key."""

    info: ArrayInfo
    node: str  # its home: the node where it was put, or another that keeps it
    doomed: bool = False  # it is being deleted: readers may find it or not
    superseded: dict[Holding, Holding] = field(default_factory=dict)  # files of older arrays of this key, by themselves


@dataclass(frozen=True, slots=True)
class Holding:
    """An array's file on a node's shelf."""

    array_id: str
    node: str
    info: ArrayInfo | None = field(default=None, compare=False)
    kept: bool = field(default=True, compare=False)  # else cached


class Replacement(NamedTuple):
    """A file of an old array, `old`, that is to be dropped once `new` is sealed, and not before."""

    old: Holding
    new: Holding
    store: str
    key: str


class Index:
    """All keys of all stores of one cluster."""

    def __init__(self) -> None:
        self._stores: dict[str, dict[str, Entry]] = {}
        self._listed: dict[str, tuple[str, str]] = {}  # id -> store, key
        self._homes: dict[str, dict[tuple[str, str], None]] = {}  # node -> store and key of the entries at home there
        self._older: dict[str, tuple[str, str]] = {}  # id of a superseded array -> store, key
        self._older_on: dict[str, set[str]] = {}  # id of a superseded array -> nodes
        self._doomed: dict[str, dict[str, str]] = {}  # store -> key that is being deleted -> id
        self._unsettled: dict[tuple[str, str], dict[str, ArrayInfo]] = {}  # store and key -> node: see `note_unsettled`
        self.copies = Copies()
        self.lost = Losses()

    # --- changes

    def bind(self, infos: list[ArrayInfo], node: str) -> int | list[Replacement]:
        """Make each array the current one of its key: all of them, or none.

        Returns the files to drop. If the current or the lost array of a key is at least as new as the one that is to
        replace it, the writer's clock is behind: then nothing is bound, and the version is returned that the writer's
        must exceed. The writer stamps its drafts again and asks again. Asking twice is harmless.
        """
        behind = 0
        for info in infos:
            current = self.find(info.store, info.key or "")
            if current is not None and current.info.id != info.id and current.info.version >= info.version:
                behind = max(behind, current.info.version)
            # A catalog that starts anew drops every array that is earlier than the lost array of its key.
            lost = self.lost.of(info)
            if lost is not None and lost.info.id != info.id and lost.info.version >= info.version:
                behind = max(behind, lost.info.version)
        if behind:
            return behind
        replaced: list[Replacement] = []
        for info in infos:
            replaced += self.admit(info, node)
        return replaced

    def admit(self, info: ArrayInfo, node: str) -> list[Replacement]:
        """List an array found on a shelf. If it is older than the current array of its key, that supersedes it."""
        assert info.key is not None
        keys = self._stores.setdefault(info.store, {})
        new, current = Entry(info, node), keys.get(info.key)
        if current is not None and current.info.id == info.id:
            if info.version > current.info.version:  # restamped, as another array of its batch was behind
                current.info = info
                self.copies.restamp(info)
            if node != current.node:
                self.copies.add(info, current.node, node)
            return []
        if current is not None:
            if current.info.version > info.version:
                new, current = current, new
            older = self.files(current)
            self.copies.forget_array(current.info.id)
            self._supersede(new, older)
            self._listed.pop(current.info.id, None)
        if (before := keys.get(info.key)) is not None and before is not new:
            self._unhome(info.store, info.key, before)
            self._undoom(info.store, info.key)
        keys[info.key] = new
        self._home(info.store, info.key, new)
        self.lost.remove(info)
        if new.info.replicas > 1 or self.copies.of(new.info.id):
            self.copies.add(new.info, new.node, new.node)
        self._listed[new.info.id] = info.store, info.key
        if not new.superseded:
            return []
        newest = Holding(new.info.id, new.node, new.info)
        return [Replacement(old, newest, info.store, info.key) for old in new.superseded]

    def _supersede(self, entry: Entry, older: Iterable[Holding]) -> None:
        info = entry.info
        assert info.key is not None
        self._forget_older(info.id)  # it may have been listed before, and restamped since
        for holding in older:
            if holding.array_id != info.id and holding not in entry.superseded:
                entry.superseded[holding] = holding
                self._older[holding.array_id] = info.store, info.key
                self._older_on.setdefault(holding.array_id, set()).add(holding.node)

    def _no_longer_supersedes(self, entry: Entry, holding: Holding) -> None:
        if entry.superseded.pop(holding, None) is not None:
            nodes = self._older_on[holding.array_id]
            nodes.discard(holding.node)
            if not nodes:
                self._forget_older(holding.array_id)

    def _forget_older(self, array_id: str) -> None:
        self._older.pop(array_id, None)
        self._older_on.pop(array_id, None)

    def _home(self, store: str, key: str, entry: Entry) -> None:
        self._homes.setdefault(entry.node, {})[store, key] = None

    def _unhome(self, store: str, key: str, entry: Entry) -> None:
        there = self._homes.get(entry.node, {})
        there.pop((store, key), None)
        if not there:
            self._homes.pop(entry.node, None)

    def _move(self, store: str, key: str, entry: Entry, node: str) -> None:
        self._unhome(store, key, entry)
        entry.node = node
        self._home(store, key, entry)

    def homes(self) -> list[str]:
        """All nodes that are the home of some array."""
        return list(self._homes)

    def at_home(self, node: str) -> list[tuple[str, str, Entry]]:
        """Store, key and entry of each array whose home is this node."""
        return [(store, key, self._stores[store][key]) for store, key in self._homes.get(node, {})]

    def replacing(self) -> list[tuple[str, str, Entry]]:
        """Store, key and entry of each array that supersedes others."""
        return [(store, key, self._stores[store][key]) for store, key in dict.fromkeys(self._older.values())]

    def doom(self, store: str, keys: Iterable[str]) -> list[tuple[str, list[Holding]]]:
        """Begin to delete. Returns the keys that exist, each with all files that have to go before `unbind`."""
        found = []
        for key in keys:
            entry = self.find(store, key)
            if entry is not None:
                entry.doomed = True
                self._doomed.setdefault(store, {})[key] = entry.info.id
                found.append((key, self.files(entry)))
        return found

    def doomed_at(self, node: str) -> list[str]:
        """The ids of the arrays whose home is this node, and whose keys are being deleted."""
        return [entry.info.id for _, _, entry in self.at_home(node) if entry.doomed]

    def doom_again(self, array_ids: Iterable[str]) -> None:
        """Note that arrays that were listed anew are still being deleted."""
        for store, key in filter(None, map(self.key_of, array_ids)):
            self.doom(store, [key])

    def _undoom(self, store: str, key: str) -> None:
        there = self._doomed.get(store, {})
        there.pop(key, None)
        if not there:
            self._doomed.pop(store, None)

    def doomed(self, store: str, prefix: str = "") -> set[str]:
        """The ids of the arrays whose keys are being deleted."""
        return {array_id for key, array_id in self._doomed.get(store, {}).items() if key.startswith(prefix)}

    def is_doomed(self, array_id: str) -> bool:
        """Whether the key of an array is being deleted."""
        store, key = self._listed.get(array_id, ("", ""))
        return self._doomed.get(store, {}).get(key) == array_id

    def superseded(self, array_ids: set[str]) -> list[tuple[Holding, tuple[str, str]]]:
        """The files of those of these arrays that are superseded, each with its store and key."""
        found = []
        for array_id in array_ids & self._older.keys():
            store, key = self._older[array_id]
            there = self._stores[store][key].superseded
            found += [(there[Holding(array_id, node)], (store, key)) for node in sorted(self._older_on[array_id])]
        return found

    def is_superseded(self, array_id: str) -> bool:
        """Whether an array was overwritten, and its files may still exist. Such an array may become current again."""
        return array_id in self._older

    def no_file(self, array_id: str, node: str) -> None:
        """Note that a node has no file of an array that was overwritten."""
        if (store_and_key := self._older.get(array_id)) is not None:
            entry = self._stores[store_and_key[0]][store_and_key[1]]
            self._no_longer_supersedes(entry, Holding(array_id, node))

    def files(self, entry: Entry) -> list[Holding]:
        """All files of an entry: first those that it supersedes, then those of its array, the home's last."""
        kept = self.holders(entry.info.id)
        nodes = [*(node for node in kept if node != entry.node), entry.node]
        return [*entry.superseded, *(Holding(entry.info.id, node, entry.info, kept.get(node, True)) for node in nodes)]

    def note_unsettled(self, info: ArrayInfo, node: str) -> None:
        """Note that a node has cached an array with a key that nobody is known to keep: it is asked to keep it.

        Until that is settled, readers there may find the array by its key, and the key is not listed for it.
        """
        self._unsettled.setdefault((info.store, info.key or ""), {})[node] = info

    def settle(self, info: ArrayInfo, node: str) -> None:
        """Note that a node keeps what it had cached of this array's key, or has it no more, or not by its key."""
        there = self._unsettled.get(name := (info.store, info.key or ""), {})
        there.pop(node, None)
        if not there:
            self._unsettled.pop(name, None)

    def unsettled(self, store: str, key: str | None) -> dict[str, ArrayInfo]:
        """By node, an array that may be found there by this key."""
        return dict(self._unsettled.get((store, key or ""), {})) if self._unsettled else {}

    def unsettled_beside(self, info: ArrayInfo) -> dict[str, ArrayInfo]:
        """By node, another array that may be found there by this array's key."""
        if not self._unsettled:  # as nearly always, and each put asks twice
            return {}
        return {node: one for node, one in self.unsettled(info.store, info.key).items() if one.id != info.id}

    def all_unsettled(self) -> list[tuple[str, ArrayInfo]]:
        """Each node and array of `note_unsettled`."""
        return [one for there in self._unsettled.values() for one in there.items()]

    def unbind(self, store: str, key: str, array_id: str) -> bool:
        """End a deletion, unless the key was bound anew meanwhile."""
        entry = self.find(store, key)
        if entry is None or entry.info.id != array_id:
            return False
        for holding in entry.superseded:
            self._forget_older(holding.array_id)
        del self._stores[store][key]
        self._unhome(store, key, entry)
        self._undoom(store, key)
        self._listed.pop(array_id, None)
        self.copies.forget_array(array_id)
        if not self._stores[store]:
            del self._stores[store]
        return True

    def take_off(self, array_id: str) -> list[Holding]:
        """Unlist an array that was never sealed. Returns the files that it superseded, for `restore`."""
        entry = self.current(array_id)
        if entry is None:
            return []
        self.unbind(entry.info.store, entry.info.key or "", array_id)
        return list(entry.superseded)

    def restore(self, holdings: Iterable[Holding]) -> list[Replacement]:
        """List again what an array overwrote that was never sealed: none of these files was dropped.

        Returns the files to drop, as they were overwritten by further arrays too.
        """
        found = []
        for holding in sorted(holdings, key=lambda one: not one.kept):
            info = holding.info
            if info is None or info.key is None:
                continue
            current = self.find(info.store, info.key)
            if holding.kept:
                found += self.admit(info, holding.node)
            elif current is not None and current.info.id == info.id:
                self.copies.add(info, current.node, holding.node, kept=False)
            elif current is not None:
                self._supersede(current, [holding])
                newest = Holding(current.info.id, current.node, current.info)
                found.append(Replacement(holding, newest, info.store, info.key))
        return found

    def home(self, array_id: str) -> str:
        """The home of a current array."""
        entry = self.current(array_id)
        assert entry is not None
        return entry.node

    def relist(self, node: str) -> list[Holding]:
        """Forget what is on a node, before the node is listed again.

        Returns the files of older arrays, on other nodes, of the node's keys, for `restore` after the listing. If the
        new array of a key was never sealed, the listing does not have it, and the older one is current again.
        """
        before = [entry for _, _, entry in self.at_home(node) if entry.superseded]
        self.forget(node)
        return [holding for entry in before for holding in entry.superseded]

    def forget(self, node: str) -> list[ArrayInfo]:
        """Unlist all that is on a node; returns the arrays that no other node keeps."""
        gone = self.copies.forget_node(node)
        for name in [name for name, there in self._unsettled.items() if there.pop(node, None) and not there]:
            del self._unsettled[name]
        for _, _, entry in self.replacing():
            for holding in [one for one in entry.superseded if one.node == node]:
                self._no_longer_supersedes(entry, holding)
        for store, key, entry in self.at_home(node):
            kept = [holder for holder, kept in self.holders(entry.info.id).items() if kept and holder != node]
            if kept:
                self._move(store, key, entry, kept[0])
            else:
                self.unbind(store, key, entry.info.id)
                gone.append(entry.info)
        return gone

    def older_than_lost(self, node: str, may_be_shown: Callable[[ArrayInfo], bool]) -> list[tuple[ArrayInfo, Holding]]:
        """Files on other nodes that were overwritten by arrays which this node alone keeps: that array, and the file.

        If several arrays overwrote a file one after the other, the one is given that readers may have seen, if any.
        """
        return [
            (max(_lost_after(holding, entry, node), key=may_be_shown), holding)
            for _, _, entry in self.at_home(node)
            if not any(kept for other, kept in self.holders(entry.info.id).items() if other != node)
            for holding in entry.superseded
            if holding.node != node
        ]

    def validate(self) -> None:
        """Raises AssertionError unless all books say the same, and each listed array is kept at its home."""
        self.copies.validate()
        listed, homes, doomed = dict[str, tuple[str, str]](), set[tuple[str, str, str]](), dict[str, dict[str, str]]()
        older, older_on = dict[str, tuple[str, str]](), dict[str, set[str]]()
        for store, keys in self._stores.items():
            for key, entry in keys.items():
                assert entry.info.store == store and entry.info.key == key, f"{key!r} is another's key"
                listed[entry.info.id] = store, key
                homes.add((entry.node, store, key))
                if entry.doomed:
                    doomed.setdefault(store, {})[key] = entry.info.id
                assert self.holders(entry.info.id).get(entry.node), f"{key!r} is not kept at its home {entry.node}"
                assert self.lost.of_key(store, key) is None, f"{key!r} is listed, and lost"
                assert all(old.array_id != entry.info.id for old in entry.superseded), f"{key!r} supersedes itself"
                for holding in entry.superseded:
                    older[holding.array_id] = store, key
                    older_on.setdefault(holding.array_id, set()).add(holding.node)
        assert listed == self._listed, "keys by array"
        assert homes == {(node, *name) for node, names in self._homes.items() for name in names}, "keys by home"
        assert (older, older_on) == (self._older, self._older_on), "keys and nodes by superseded array"
        assert not older.keys() & listed.keys(), "an array is current, and superseded"
        assert doomed == self._doomed, "keys that are being deleted"
        assert all(self._unsettled.values()), "a key is unsettled on no node"

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
        return len(self._stores.get(store, {})) - len(self._doomed.get(store, {}))

    def __len__(self) -> int:
        """The number of keys of all stores."""
        return len(self._listed)

    def stores(self) -> list[str]:
        return sorted(self._stores)

    def move_home(self, array_id: str, node: str, other: str) -> None:
        """Make `other`, a node that keeps an array too, its home instead of `node`."""
        entry = self.current(array_id)
        if entry is not None and entry.node == node:
            self._move(entry.info.store, entry.info.key or "", entry, other)

    def endangered(self, node: str, is_alive: Callable[[str], bool]) -> list[tuple[ArrayInfo, list[str]]]:
        """Arrays that no living node but this keeps, and that others have cached: each with those nodes."""
        found = []
        for info, is_kept in self.copies.on_node(node):
            nodes = self.copies.of(info.id)
            others = [other for other in nodes if other != node and is_alive(other)]
            if is_kept and others and not any(nodes[other] for other in others):
                found.append((info, others))
        return found

    def holders(self, array_id: str) -> dict[str, bool]:
        """The nodes that have a copy, and whether each keeps it (else it has it cached)."""
        if copies := self.copies.of(array_id):
            return dict(copies)
        entry = self.current(array_id)
        return {} if entry is None else {entry.node: True}

    def current(self, array_id: str) -> Entry | None:
        """The entry of a current array."""
        store_and_key = self._listed.get(array_id)
        return None if store_and_key is None else self.find(*store_and_key)

    def key_of(self, array_id: str) -> tuple[str, str] | None:
        """Store and key of a current array."""
        return self._listed.get(array_id)

    def lists(self, array_id: str) -> bool:
        return array_id in self._listed

    def some_keys(self, store: str, like: str, limit: int) -> list[str]:
        """Up to `limit` keys, for an error message: first those that begin as `like` does, the latest first."""
        head, near, rest = like[: len(like) // 2], list[str](), list[str]()
        for key in itertools.islice(reversed(self._stores.get(store, {})), _LOOKED_AT):
            (near if key.startswith(head) else rest).append(key)
        return [*near, *rest][:limit]


def _lost_after(older: Holding, entry: Entry, node: str) -> list[ArrayInfo]:
    """The arrays that overwrote a file and that only this node has: the entry's array, and those between the two."""
    elsewhere = {one.array_id for one in entry.superseded if one.node != node}
    there = [one.info for one in entry.superseded if one.info is not None and one.array_id not in elsewhere]
    return [entry.info, *(info for info in there if older.info is None or info.version > older.info.version)]
