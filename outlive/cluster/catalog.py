"""The catalog: the actor that knows which key is which array, and orders the changes of each key.

A put with a key goes: the writer completes a draft -> the catalog lists it, from which moment readers find it -> the
writer seals it, or a reader that is faster does. What the array replaces is dropped once it is sealed. A deletion goes:
files first, then the key. So at every moment a catalog that starts anew can tell the truth from the files alone.

Where other nodes have copies of what is replaced or deleted, their names go first (`forbid`): until the last of them
is gone everyone still reads the old array, then everyone asks the catalog.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import ray

from outlive.arrays.check import Finding
from outlive.arrays.index import Entry, Holding, Replacement
from outlive.arrays.info import ArrayInfo
from outlive.cluster import actors
from outlive.cluster.bulk import Bulk
from outlive.cluster.wire import (
    Bound,
    Found,
    pack_bound,
    pack_found,
    unpack,
    unpack_listed,
    unpack_request,
)
from outlive.errors import StoreUnavailable

Name = tuple[str, str]  # store and key
_AT_A_TIME = 16  # shelves that are listed as a catalog starts
_log = logging.getLogger(__name__)


class Catalog(Bulk):
    """Runs as the actor `catalog` in namespace `outlive`. Answers nothing before it has heard from every keeper."""

    def __init__(self) -> None:
        super().__init__()
        cached: list[tuple[str, ArrayInfo]] = []
        for some in self._list_shelves(actors.keeper_nodes()):
            cached += some
        self._admit_cached(cached)
        threading.Thread(target=self._drop_replaced, name="drop", daemon=True).start()
        self._start_rounds()

    # --- keys

    def bind(self, request: bytes) -> bytes:
        """List complete drafts on a node under their keys: all, or none. Asking again does no harm.

        Parameters
        ----------
        request
            By `wire.pack_request`, their infos, the node, and the epoch that a former answer gave and that the shelf
            does not have, if so: either another catalog has started since, then this is it, or there is another shelf
            in the old one's place, which is news to this one.

        Returns
        -------
        By `wire.pack_bound`, the answer.
        """
        infos, node, stale = unpack_request(request)
        self._left.discard(node)  # somebody came back to it
        with self._lock:
            unknown = self._epochs.get(node, stale) == stale  # to list its shelf may take a while
            if unknown or self._named_elsewhere(infos, node):
                return pack_bound(Bound(0, elsewhere=True))
            return pack_bound(self._bind(infos, node))

    @ray.method(concurrency_group="change")
    def replace(self, request: bytes) -> bytes:
        """`bind`, where other nodes have copies of what is replaced: their names go first."""
        infos, node, stale = unpack_request(request)
        if self._epochs.get(node, stale) == stale:
            self._join(node)
        done: set[tuple[str, str]] = set()
        while True:
            with self._lock:
                left = {holding for holding in self._named_elsewhere(infos, node) if holding not in done}
                if not left:
                    return pack_bound(self._bind(infos, node))
            if silent := self._forbid(infos, {other for other, _ in left}):
                raise StoreUnavailable(
                    f"node {', '.join(silent)} may have a copy of what is replaced, and did not confirm that nobody "
                    "there reads it by its key any more: neither its keeper nor another process there did. Nothing was "
                    "changed; try again"
                )
            done |= left

    @ray.method(concurrency_group="change")
    def welcome(self, node: str) -> None:
        """A keeper has adopted arrays: list what is on its shelf now."""
        self._join(node)

    def _bind(self, infos: list[ArrayInfo], node: str) -> Bound:
        answer = self._index.bind(infos, node)
        if isinstance(answer, int):
            return Bound(0, answer)
        for replacement in answer:
            self._replaced.put(replacement)
        return Bound(self._epochs[node])

    def _named_elsewhere(self, infos: Iterable[ArrayInfo], node: str) -> set[tuple[str, str]]:
        """Nodes other than this whose readers may find what these arrays replace by name; with its id."""
        found = {(other, "") for other in self._unlisted if other != node}  # it may have any of them
        for info in infos:
            entry = self._index.find(info.store, info.key or "")
            if entry is not None and entry.info.id != info.id:
                found |= {(other, entry.info.id) for other in self._index.holders(entry.info.id) if other != node}
        return found

    def _forbid(self, infos: Iterable[ArrayInfo], nodes: Iterable[str]) -> list[str]:
        """Returns the nodes that live and did not confirm it: what is read by name there may be anything."""
        names, asked = [(info.store, info.key or "", info.version) for info in infos], set(nodes)
        keepers = self._all_keepers()
        done = self._answers({node: keepers[node].forbid.remote(names) for node in asked if node in keepers})
        return self._silent(asked.difference(done))

    def unbind(self, packed: bytes) -> None:
        """Forget keys that were listed by a call that was repeated, and whose arrays had been deleted meanwhile."""
        with self._lock:
            for info in unpack(packed):
                self._index.unbind(info.store, info.key or "", info.id)

    def find(self, store: str, keys: list[str]) -> bytes:
        """What each key stands for, by `wire.pack_found`."""
        with self._lock:
            found = [self._found(self._index.find(store, key)) or self._found_lost(store, key) for key in keys]
        if any(one is None or one.lost_at for one in found):
            self._say_unlisted("an array of this key")
        return pack_found(found)

    def _found_lost(self, store: str, key: str) -> Found | None:
        lost = self._index.lost.get((store, key))
        return None if lost is None else Found(lost.info, [lost.node], lost_at=lost.at)

    def _found(self, entry: Entry | None) -> Found | None:
        if entry is None:
            return None
        others = [node for node in self._index.holders(entry.info.id) if node != entry.node]
        return Found(entry.info, [entry.node, *others], entry.doomed, self._epochs.get(entry.node, 0))

    @ray.method(concurrency_group="change")
    def end(self, array_ids: list[str]) -> list[str]:
        """Delete the keys that stand for one of these arrays, with all their files; returns the arrays' ids.

        By id, and so harmless to repeat: a key may stand for a later array by then.
        """
        ids = set(array_ids)
        gone = self._forget_lost(ids)
        with self._lock:
            listed = [self._index.place(array_id) for array_id in array_ids]
        by_store: dict[str, list[str]] = defaultdict(list)
        for store, key in filter(None, listed):
            by_store[store].append(key)
        for store, keys in by_store.items():
            gone += self._delete(store, keys, ids)
        gone += self._forget_lost(ids)  # its last node died meanwhile
        if left := ids.difference(gone):  # what is about to be overwritten can be read until that is sealed
            with self._lock:
                old = self._index.superseded(left)
            self._drop(old)
            gone += {holding.array_id for holding, _ in old}
        if ids.difference(gone):
            self._say_unlisted("an array that is to be deleted")
        return gone

    def _forget_lost(self, ids: set[str]) -> list[str]:
        with self._lock:
            lost = [name for name, one in self._index.lost.items() if one.info.id in ids]
            return [self._index.lost.pop(name).info.id for name in lost]

    def _delete(self, store: str, keys: list[str], only: set[str]) -> list[str]:
        doomed = self._doom(store, keys, only)
        self._drop([(holding, (store, key)) for key, holdings in doomed for holding in holdings])
        with self._lock:
            for key, holdings in doomed:
                self._index.unbind(store, key, holdings[-1].array_id)
        return [holdings[-1].array_id for _, holdings in doomed]

    def _doom(self, store: str, keys: list[str], only: set[str]) -> list[tuple[str, list[Holding]]]:
        """Begin to delete: where several nodes have copies, nobody reads them by name from here on."""
        done: set[tuple[str, str]] = set()
        while True:
            with self._lock:
                entries = (self._index.find(store, key) for key in keys)
                listed = [entry.info for entry in entries if entry is not None and entry.info.id in only]
                spread = [info for info in listed if len(self._index.holders(info.id)) > 1]
                left = {(node, info.id) for info in spread for node in self._index.holders(info.id)} - done
                if not left:
                    return self._index.doom(store, [info.key or "" for info in listed])
            self._forbid([info._replace(version=info.version + 1) for info in spread], {node for node, _ in left})
            done |= left

    # --- questions

    @ray.method(concurrency_group="slow")
    def keys(self, store: str, prefix: str) -> list[str]:
        with self._lock:
            return sorted(self._index.keys(store, prefix))

    @ray.method(concurrency_group="slow")
    def entries(self, store: str, prefix: str) -> bytes:
        """All that is listed, sorted by key, by `wire.pack_found`."""
        with self._lock:
            found = [self._found(entry) for entry in self._index.entries(store, prefix)]
        return pack_found(sorted(found, key=lambda one: (one and one.info.key) or ""))

    @ray.method(concurrency_group="slow")
    def ids(self, store: str) -> list[str]:
        """The arrays that have a key, and those with a key that are lost."""
        with self._lock:
            lost = [one.info.id for one in self._index.lost.values() if one.info.store == store and one.info.key]
            return [entry.info.id for entry in self._index.entries(store)] + lost

    def count(self, store: str) -> int:
        with self._lock:
            return self._index.count(store)

    @ray.method(concurrency_group="slow")
    def totals(self) -> dict[str, tuple[int, int]]:
        """For each store: how many keys, and the bytes of their arrays."""
        with self._lock:
            stores = self._index.stores()
            infos = {store: [entry.info for entry in self._index.entries(store)] for store in stores}
        return {store: (len(found), sum(info.nbytes for info in found)) for store, found in infos.items()}

    @ray.method(concurrency_group="slow")
    def some_keys(self, store: str, like: str, limit: int) -> list[str]:
        with self._lock:
            return self._index.some_keys(store, like, limit)

    def listed(self, array_ids: list[str]) -> set[str]:
        """Which of these are current arrays of some key."""
        with self._lock:
            return {array_id for array_id in array_ids if self._index.lists(array_id)}

    def ping(self) -> None:
        """Answered once the catalog is ready."""

    # --- the files behind the keys

    @ray.method(concurrency_group="change")
    def reconcile(self, node: str, packed: bytes) -> list[Finding]:
        """Compare the keys with the arrays found on a shelf, and mend what differs."""
        present = unpack(packed)
        findings, ids = [], {info.id for info in present}
        with self._lock:
            missing = [e for e in self._index.all_entries() if e.node == node and not e.doomed and e.info.id not in ids]
            stray = [info for info in present if not self._index.lists(info.id)]
            for entry in self._index.all_entries():  # copies that are gone: others are made, if they count
                if entry.node != node and entry.info.id not in ids:
                    self._index.copies.remove(entry.info.id, node)
        # A file that is there after its key was not is no deletion under way: those take the file first.
        there = self._finish(node, [entry.info.id for entry in missing] + [info.id for info in stray])
        for entry, exists in zip(missing, there, strict=False):
            key = entry.info.key or ""
            with self._lock:
                gone = not exists and self._index.unbind(entry.info.store, key, entry.info.id)
            if gone:
                findings.append(Finding("missing", key, f"its array {entry.info.id} is lost; key removed", True))
                if older := [holding for holding in entry.superseded if holding.node != node]:
                    self._bring_back(older)
        for info, exists in zip(stray, there[len(missing) :], strict=True):
            if exists:
                with self._lock:
                    replaced = self._index.admit(info, node)
                    current = self._index.lists(info.id)
                for replacement in replaced:
                    self._replaced.put(replacement)
                what = ("unlisted", "listed again") if current else ("superseded", "dropped: a later put replaced it")
                findings.append(Finding(what[0], info.key or "", what[1], True))
        return findings

    def _list_shelves(self, nodes: Iterable[str]) -> list[list[tuple[str, ArrayInfo]]]:
        """All at a time. Nodes that do not answer are admitted later: see `_mend`."""

        def listed(node: str) -> list[tuple[str, ArrayInfo]]:
            try:
                return self._list_shelf(node)
            except (ValueError, StoreUnavailable) as error:
                if self._is_alive(node):
                    _log.warning("%s; what it has is not known yet", error)
                    self._unlisted.add(node)
                return []

        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            return list(pool.map(listed, nodes))

    def _join(self, node: str) -> None:
        self._admit_cached(self._list_shelf(node))

    def _list_shelf(self, node: str) -> list[tuple[str, ArrayInfo]]:
        """List what a node's shelf keeps, and nothing else for that node; returns what is to be looked at then.

        Raises ValueError if the node is dead, StoreUnavailable if nobody there answers.
        """
        self._left.discard(node)
        self._keepers[node] = self._find_keeper(node)
        answers = self._answers({node: self._keepers[node].listing.remote()})
        if node not in answers:
            raise StoreUnavailable(f"neither the keeper of node {node} nor another process there answers; try again")
        epoch, packed = answers[node]
        listed = unpack_listed(packed)
        with self._lock:
            cached = self._index.copies.cached_apart_from(node)
            self._epochs[node] = epoch
            self._unlisted.discard(node)
            self._index.forget(node)
            self._admit(node, listed)
        return cached + [(node, info) for info, kept in listed if not kept]

    def _drop(self, holdings: Iterable[tuple[Holding, Name | None]]) -> None:
        by_node: dict[str, list[tuple[str, Name | None]]] = defaultdict(list)
        for holding, name in holdings:
            by_node[holding.node].append((holding.array_id, name))
        keepers = self._all_keepers()
        self._answers({node: keepers[node].drop.remote(some) for node, some in by_node.items() if node in keepers})

    def _finish(self, node: str, array_ids: list[str]) -> list[bool]:
        if not array_ids:
            return []
        keepers = self._all_keepers()
        if node not in keepers:  # it died: what was not sealed there will not be
            return [False] * len(array_ids)
        answers = self._answers({node: keepers[node].finish.remote(array_ids, self._epochs[node])})
        sealed: list[bool] = answers.get(node, [False] * len(array_ids))
        return sealed

    def _drop_replaced(self) -> None:
        while True:
            batch = {self._replaced.get()}
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.add(self._replaced.get_nowait())
            by_node: dict[str, list[Replacement]] = defaultdict(list)
            for replacement in batch:
                by_node[replacement.new.node].append(replacement)
            for node, some in by_node.items():
                try:
                    self._drop_where_sealed(node, some)
                except Exception:  # noqa: BLE001 - the thread goes on
                    _log.exception("arrays that were replaced on %s stay until `outlive check`", node)

    def _make_safe(self, replacement: Replacement) -> None:
        """Before the old array goes, the new one is on as many nodes as it shall be, as far as it can."""
        with self._lock:
            entry = self._index.find(replacement.store, replacement.key)
        if entry is not None and entry.info.id == replacement.new.array_id and entry.info.replicas > 1:
            self._replicate(entry.info)

    def _drop_where_sealed(self, node: str, replacements: list[Replacement]) -> None:
        sealed = self._finish(node, [replacement.new.array_id for replacement in replacements])
        # One that is not sealed was itself replaced or deleted, and what did that drops the old one too.
        ready = [replacement for replacement, done in zip(replacements, sealed, strict=True) if done]
        for replacement in ready:
            self._make_safe(replacement)
        self._drop([(replacement.old, None) for replacement in ready])
        with self._lock:
            for replacement in ready:
                self._index.dropped(replacement)
