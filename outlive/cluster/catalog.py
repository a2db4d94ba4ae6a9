"""The catalog: the actor that knows which key is which array, and orders the changes of each key.

A put with a key goes: the writer completes a draft -> the catalog lists it, from which moment readers find it -> the
writer seals it, or a reader that is faster does. What the array replaces is dropped once it is sealed. A deletion goes:
files first, then the key. So at every moment a catalog that starts anew can tell the truth from the files alone.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import defaultdict
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

from outlive.arrays.check import Finding
from outlive.arrays.index import Entry, Holding, Index, Replacement
from outlive.arrays.info import ArrayInfo
from outlive.cluster import actors

_log = logging.getLogger(__name__)


class Bound(NamedTuple):
    """The catalog's answer to a writer: seal under `epoch`; or, if `behind`, restamp with a later version than that."""

    epoch: int
    behind: int


class Found(NamedTuple):
    """The catalog's answer to a reader."""

    info: ArrayInfo
    node: str
    doomed: bool  # being deleted: not finding it is no loss
    epoch: int  # under which the array, if it is not sealed yet, may be


class Catalog:
    """Runs as the actor `catalog` in namespace `outlive`. Answers nothing before it has heard from every keeper."""

    def __init__(self) -> None:
        self._index, self._lock = Index(), threading.Lock()
        self._epochs: dict[str, int] = {}
        self._keepers: dict[str, Any] = {}
        self._replaced: queue.SimpleQueue[Replacement] = queue.SimpleQueue()
        for node in actors.keeper_nodes():
            with contextlib.suppress(RayError, ValueError):  # its node is gone
                self._join(node)
        threading.Thread(target=self._drop_replaced, name="drop", daemon=True).start()

    # --- keys

    def bind(self, infos: list[ArrayInfo], node: str) -> Bound:
        """List complete drafts on `node` under their keys: all, or none. Asking again does no harm."""
        if node not in self._epochs:
            self._join(node)
        with self._lock:
            answer = self._index.bind(infos, node)
        if isinstance(answer, int):
            return Bound(0, answer)
        for replacement in answer:
            self._replaced.put(replacement)
        return Bound(self._epochs[node], 0)

    def find(self, store: str, keys: list[str]) -> list[Found | None]:
        with self._lock:
            return [self._found(self._index.find(store, key)) for key in keys]

    def _found(self, entry: Entry | None) -> Found | None:
        return None if entry is None else Found(entry.info, entry.node, entry.doomed, self._epochs[entry.node])

    @ray.method(concurrency_group="slow")
    def delete(self, store: str, keys: list[str], only: str | None = None) -> list[str]:
        """Delete keys, with all their files; returns those that existed. `only`: if it is still this array."""
        return self._delete(store, keys, only)

    def _delete(self, store: str, keys: list[str], only: str | None = None) -> list[str]:
        with self._lock:
            if only is not None:
                current = [self._index.find(store, key) for key in keys]
                keys = [entry.info.key for entry in current if entry and entry.info.id == only and entry.info.key]
            doomed = self._index.doom(store, keys)
        self._drop([holding for _, holdings in doomed for holding in holdings])
        with self._lock:
            for key, holdings in doomed:
                self._index.unbind(store, key, holdings[-1].array_id)
        return [key for key, _ in doomed]

    @ray.method(concurrency_group="slow")
    def clear(self, store: str) -> int:
        """Delete all keys of a store; returns how many."""
        with self._lock:
            keys = self._index.keys(store)
        return len(self._delete(store, keys))

    # --- questions

    @ray.method(concurrency_group="slow")
    def keys(self, store: str, prefix: str) -> list[str]:
        with self._lock:
            return sorted(self._index.keys(store, prefix))

    @ray.method(concurrency_group="slow")
    def entries(self, store: str, prefix: str) -> list[tuple[ArrayInfo, str]]:
        with self._lock:
            return sorted(((e.info, e.node) for e in self._index.entries(store, prefix)), key=lambda e: e[0].key or "")

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

    @ray.method(concurrency_group="slow")
    def reconcile(self, node: str, present: list[ArrayInfo]) -> list[Finding]:
        """Compare the keys with the arrays found on a shelf, and mend what differs."""
        findings, ids = [], {info.id for info in present}
        with self._lock:
            missing = [e for e in self._index.all_entries() if e.node == node and not e.doomed and e.info.id not in ids]
            stray = [info for info in present if not self._index.lists(info.id)]
        # A file that is there after its key was not is no deletion under way: those take the file first.
        there = self._finish(node, [entry.info.id for entry in missing] + [info.id for info in stray])
        for entry, exists in zip(missing, there, strict=False):
            key = entry.info.key or ""
            with self._lock:
                if not exists and self._index.unbind(entry.info.store, key, entry.info.id):
                    findings.append(Finding("missing", key, f"its array {entry.info.id} is lost; key removed", True))
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

    def _join(self, node: str) -> None:
        self._keepers[node] = actors.keeper(node)
        epoch, infos = ray.get(self._keepers[node].listing.remote())
        with self._lock:
            replaced = [replacement for info in infos for replacement in self._index.admit(info, node)]
        for replacement in replaced:
            self._replaced.put(replacement)
        self._epochs[node] = epoch

    def _drop(self, holdings: list[Holding]) -> None:
        by_node: dict[str, list[str]] = defaultdict(list)
        for holding in holdings:
            by_node[holding.node].append(holding.array_id)
        ray.get([self._keepers[node].drop.remote(ids) for node, ids in by_node.items()])

    def _finish(self, node: str, array_ids: list[str]) -> list[bool]:
        if not array_ids:
            return []
        sealed: list[bool] = ray.get(self._keepers[node].finish.remote(array_ids, self._epochs[node]))
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
                except RayError:
                    _log.exception("arrays that were replaced on %s stay until `outlive check`", node)

    def _drop_where_sealed(self, node: str, replacements: list[Replacement]) -> None:
        sealed = self._finish(node, [replacement.new.array_id for replacement in replacements])
        # One that is not sealed was itself replaced or deleted, and what did that drops the old one too.
        ready = [replacement for replacement, done in zip(replacements, sealed, strict=True) if done]
        self._drop([replacement.old for replacement in ready])
        with self._lock:
            for replacement in ready:
                self._index.dropped(replacement)
