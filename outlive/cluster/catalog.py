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
from typing import Any

import ray

from outlive.arrays.check import Finding
from outlive.arrays.index import Entry, Holding, Replacement
from outlive.arrays.info import ArrayInfo
from outlive.cluster import actors
from outlive.cluster.bulk import Bulk
from outlive.cluster.holders import name_of
from outlive.cluster.holds import Holds
from outlive.cluster.peers import PATIENCE, Peer
from outlive.cluster.per_node import PerNode
from outlive.cluster.wire import (
    Bound,
    Found,
    Listed,
    pack_bound,
    pack_found,
    pack_held,
    unpack,
    unpack_listed,
    unpack_request,
)
from outlive.errors import StoreUnavailable

Name = tuple[str, str]  # store and key
_AT_A_TIME = 16  # shelves that are listed as a catalog starts
_LISTINGS_IN_PARTS = 3  # that are begun, before a shelf is listed in one call
_log = logging.getLogger(__name__)


class Catalog(Bulk):
    """Runs as the actor `catalog` in namespace `outlive`. Answers nothing before it has heard from every keeper."""

    def __init__(self) -> None:
        super().__init__()
        self._holds = Holds(self._replaced.put)
        self._drops = PerNode(self._drop_or_again)
        self._again: list[Replacement] = []  # a node did not confirm that it dropped what was replaced
        self._unfinished: set[str] = set()  # arrays of which a node did not confirm that it deleted them
        self._deleted = threading.Condition(self._lock)
        cached: list[tuple[str, ArrayInfo]] = []
        for some in self._list_shelves(actors.keeper_nodes()):
            cached += some
        self._admit_cached(cached)
        self._start_threads()

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
        self._list_unlisted()
        done: set[tuple[str, str]] = set()
        while True:
            with self._lock:
                left = {holding for holding in self._named_elsewhere(infos, node) if holding not in done}
                if not left:
                    return pack_bound(self._bind(infos, node))
            if silent := self._forbid(infos, {other for other, _ in left}):
                raise StoreUnavailable(
                    f"{_nodes(silent)} may have a copy of what is replaced, and did not confirm that nobody there "
                    "reads it by its key any more: nobody there answers, or its file system is full. Nothing was "
                    "changed; try again, or `outlive drain` that node"
                )
            done |= left

    @ray.method(concurrency_group="change")
    def welcome(self, node: str) -> None:
        """A keeper has adopted arrays: list what is on its shelf now."""
        self._join(node)

    def _bind(self, infos: list[ArrayInfo], node: str) -> Bound:
        given_up = self._given_up.get(node, set())
        if any(info.id in self._erased or info.id in given_up for info in infos):  # its writer has
            return Bound(0)
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

    @ray.method(concurrency_group="change")
    def take_off(self, array_ids: list[str]) -> None:
        """Forget arrays that were listed, and whose puts came to nothing. What they would have replaced is back.

        If the call that lists them comes later than this one, it lists nothing.
        """
        with self._lock:
            for array_id in array_ids:
                self._index.take_off(array_id)
                self._note_erased(array_id)

    @ray.method(concurrency_group="change")
    def verify(self, array_id: str) -> bool:
        """Somebody did not find an array where this catalog lists it. False: it is gone, and nobody deleted it.

        It is sealed, if that is due. It is not listed any more, if its put came to nothing.
        """
        with self._lock:
            place = self._index.place(array_id)
            entry = None if place is None else self._index.find(*place)
        if entry is None or self._finish(entry.node, [array_id]) == [True]:
            return True
        with self._lock:
            if self._index.place(array_id) is None or entry.doomed:
                return True
            keeper = self._all_keepers().get(entry.node)
        if keeper is None:
            return False
        if self._answers({entry.node: keeper.unsealed.remote([array_id])}) == {entry.node: [True]}:
            # The shelf's epoch is not the one that is known here: a keeper that was stopped has raised it late. Its
            # writer has to ask again, so it is listed then.
            self._join(entry.node)
            return True
        if self._answers({entry.node: keeper.never_put.remote([array_id])}) != {entry.node: [True]}:
            return False
        with self._lock:
            self._index.take_off(array_id)
        return True

    def find(self, store: str, keys: list[str]) -> bytes:
        """What each key stands for, by `wire.pack_found`."""
        with self._lock:
            return pack_found(self._find(store, keys))

    def hold(self, store: str, keys: list[str]) -> bytes:
        """What keys stand for at one moment, by `wire.pack_held`.

        For a minute, or until `release`, what replaces these arrays leaves them where they are, for whoever reads them
        by what this says. A deletion does not wait.
        """
        with self._lock:
            found = self._find(store, keys)
            return pack_held(self._holds.begin(one.info.id for one in found if one is not None), found)

    def release(self, number: int) -> None:
        """What was held may go."""
        self._holds.end(number)

    def _find(self, store: str, keys: list[str]) -> list[Found | None]:
        found = [self._found(self._index.find(store, key)) or self._found_lost(store, key) for key in keys]
        if any(one is None or one.lost_at or one.info.id in self._late for one in found):
            self._say_unlisted("an array of this key")
        return found

    def _found_lost(self, store: str, key: str) -> Found | None:
        lost = self._index.lost.get((store, key))
        return None if lost is None else Found(lost.info, [lost.node], lost_at=lost.at)

    def _found(self, entry: Entry | None) -> Found | None:
        if entry is None:
            return None
        others = [node for node in self._index.holders(entry.info.id) if node != entry.node]
        epoch, replacing = self._epochs.get(entry.node, 0), bool(entry.superseded)
        return Found(entry.info, [entry.node, *others], entry.doomed, epoch, replacing=replacing)

    @ray.method(concurrency_group="change")
    def end(self, array_ids: list[str]) -> list[str]:
        """Delete the keys that stand for one of these arrays, with all their files; returns the arrays' ids.

        By id, and so harmless to repeat: a key may stand for a later array by then.

        Raises
        ------
        StoreUnavailable
            A node that lives did not confirm it.
        """
        return self._end(array_ids)

    def _end(self, array_ids: list[str]) -> list[str]:
        ids = set(array_ids)
        self._list_unlisted()
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
        ids = [holdings[-1].array_id for _, holdings in doomed]
        # Copies of nodes that have not said yet what they have would come back with them.
        unlisted = [
            (Holding(one[-1].array_id, node), (store, key))
            for key, one in doomed
            for node in list(self._unlisted)
            if node != one[-1].node
        ]
        # The homes last: where names could not be forbidden, everybody reads the array until its home has dropped it.
        copies = [(holding, (store, key)) for key, holdings in doomed for holding in holdings[:-1]]
        homes = [(holdings[-1], (store, key)) for key, holdings in doomed]
        if silent := self._drop([*copies, *unlisted]) or self._drop(homes):
            with self._lock:
                self._unfinished.update(ids)
                self._deleted.notify_all()
            raise StoreUnavailable(
                f"{_nodes(silent)} did not confirm that it deleted its files of {', '.join(map(repr, keys[:5]))}: its "
                "keeper does not answer. Until it does, the arrays can be read there; then they are deleted"
            )
        with self._lock:
            for key, holdings in doomed:
                self._index.unbind(store, key, holdings[-1].array_id)
                self._deleted.notify_all()
                for node in list(self._gone):  # also one that is listed for the first time
                    self._note_gone(node, [holding.array_id for holding in holdings])
                    info = holdings[-1].info
                    if info is not None:
                        self._gone_keys[node][store, key] = info.version
        return ids

    def _finish_deletions(self) -> None:
        """Those that a node did not confirm."""
        for array_id in list(self._unfinished):
            with contextlib.suppress(StoreUnavailable):
                self._unfinished.discard(array_id)
                self._end([array_id])

    def _doom(self, store: str, keys: list[str], only: set[str]) -> list[tuple[str, list[Holding]]]:
        """Begin to delete: where several nodes have copies, nobody reads them by name from here on."""
        done: set[tuple[str, str]] = set()
        while True:
            with self._lock:
                entries = (self._index.find(store, key) for key in keys)
                listed = [entry.info for entry in entries if entry is not None and entry.info.id in only]
                where = {info.id: {*self._index.holders(info.id), *self._unlisted} for info in listed}
                spread = [info for info in listed if len(where[info.id]) > 1]
                left = {(node, info.id) for info in spread for node in where[info.id]} - done
                if not left:
                    return self._index.doom(store, [info.key or "" for info in listed])
            self._forbid([info._replace(version=info.version + 1) for info in spread], {node for node, _ in left})
            done |= left

    # --- questions

    @ray.method(concurrency_group="list")
    def keys(self, store: str, prefix: str) -> list[str]:
        with self._lock:
            self._wait_for_deletions(store, prefix)
            return sorted(self._index.keys(store, prefix))

    def _wait_for_deletions(self, store: str, prefix: str = "") -> None:
        """Those that are under way: until its file is gone, an array can be read, and so is not to be missed here.

        The caller holds the lock. It is free meanwhile.
        """
        asked = self._index.doomed(store, prefix)
        self._deleted.wait_for(
            lambda: not asked.intersection(self._index.doomed(store, prefix)).difference(self._unfinished), PATIENCE
        )

    @ray.method(concurrency_group="list")
    def entries(self, store: str, prefix: str) -> bytes:
        """All that is listed, sorted by key, by `wire.pack_found`.

        Where an older array can still be read, the new one is sealed first: no two calls show them in another order.
        """
        with self._lock:
            self._wait_for_deletions(store, prefix)
            replacing = [entry for entry in self._index.entries(store, prefix) if entry.superseded]
        by_node: dict[str, list[str]] = defaultdict(list)
        for entry in replacing:
            by_node[entry.node].append(entry.info.id)
        for node, ids in by_node.items():
            with contextlib.suppress(StoreUnavailable):
                self._finish(node, ids)
        with self._lock:
            found = [self._found(entry) for entry in self._index.entries(store, prefix)]
        return pack_found(sorted(found, key=lambda one: (one and one.info.key) or ""))

    @ray.method(concurrency_group="slow")
    def ids(self, store: str) -> list[str]:
        """The arrays that have a key, and those with a key that are lost."""
        with self._lock:
            lost = [one.info.id for one in self._index.lost.values() if one.info.store == store and one.info.key]
            return [entry.info.id for entry in self._index.entries(store)] + lost

    @ray.method(concurrency_group="list")
    def count(self, store: str) -> int:
        with self._lock:
            self._wait_for_deletions(store)
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
            absent = [
                entry.info.id
                for entry in self._index.all_entries()
                if entry.node != node and entry.info.id not in ids and node in self._index.holders(entry.info.id)
            ]
        self._forget_absent(node, absent)
        # A file that is there after its key was not is no deletion under way: those take the file first.
        there = self._finish(node, [entry.info.id for entry in missing] + [info.id for info in stray])
        for entry, exists in zip(missing, there, strict=False):
            key = entry.info.key or ""
            with self._lock:
                gone = not exists and self._index.unbind(entry.info.store, key, entry.info.id)
            if gone:
                findings.append(Finding("missing", key, f"its array {entry.info.id} is lost; key removed", True))
                with self._lock:
                    self._index.restore(entry.superseded)
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

    def _forget_absent(self, node: str, array_ids: list[str]) -> None:
        """Copies that a report of a shelf did not have: others are made, if they count.

        The report may be older than the copy, which is not sealed yet. So the shelf gets a new epoch before it says
        once more what it has: a copy that is not there then is added anew before it is sealed.
        """
        keeper = self._all_keepers().get(node)
        answers = self._answers({node: keeper.holds_from_now.remote(array_ids)}) if array_ids and keeper else {}
        if node in answers:
            epoch, there = answers[node]
            with self._lock:
                self._epochs[node] = max(epoch, self._epochs.get(node, 0))
                for array_id, is_there in zip(array_ids, there, strict=True):
                    if not is_there:
                        self._not_there(node, array_id)

    @ray.method(concurrency_group="slow")
    def dropped(self, array_ids: list[str], node: str) -> None:
        """A node has dropped its copies of these arrays, as `leave` allowed.

        Said once more when it is done: the shelf may have been listed in between, when they were still there.
        """
        self._forget_absent(node, array_ids)

    def _join(self, node: str) -> None:
        self._admit_cached(self._list_shelf(node))

    def _list_shelf(self, node: str) -> list[tuple[str, ArrayInfo]]:
        """List what a node's shelf keeps, and nothing else for that node; returns what is to be looked at then.

        Raises ValueError if the node is dead, StoreUnavailable if nobody there answers.
        """
        with self._lock:
            one_at_a_time = self._listing[node]
        with one_at_a_time:  # or the older picture could be the last
            leavings = self._leavings[node]
            self._left.discard(node)
            keeper = self._keepers[node] = self._find_keeper(node)
            try:
                epoch, listed = self._ask_what_is_on(keeper)
                given_up = self._answers({node: keeper.given_up.remote()})
                with self._lock:
                    if self._leavings[node] != leavings:
                        raise StoreUnavailable(f"the keeper of node {node} left while its shelf was listed")
                    self._given_up[node] = set(given_up.get(node, ()))
                    listed = [one for one in listed if one.info.id not in self._gone[node]]
                    old = {one.info.id: one.info for one in listed if self._is_deleted_since(node, one.info)}
                    listed = [one for one in listed if one.info.id not in old]
                    cached = self._index.copies.cached_apart_from(node)
                    self._epochs[node] = epoch
                    self._unlisted.discard(node)
                    self._late.update(one.info.id for one in listed if one.late)
                    older = self._index.relist(node)
                    self._admit(node, listed)
                    self._index.restore(older)
                self._drop([(Holding(info.id, node), name_of(info)) for info in old.values()])
            finally:
                with self._lock:
                    self._gone.pop(node, None)
                    self._gone_keys.pop(node, None)
        return cached + [(node, one.info) for one in listed if not one.kept]

    def _ask_what_is_on(self, keeper: Peer) -> tuple[int, list[Listed]]:
        """The epoch of a listing of a node's shelf, and what it lists.

        In parts, between which the keeper answers others. They have to be of one epoch: who seals an array as of a
        later one may have done so behind the parts that were listed. Begun anew each time, it would never end beside
        others who raise the epoch; so at last all is listed in one call.
        """
        for _ in range(_LISTINGS_IN_PARTS):
            epoch, packed, after = self._list_part(keeper, None)
            began, listed = epoch, unpack_listed(packed)
            while after is not None and epoch == began:
                epoch, packed, after = self._list_part(keeper, after)
                listed += unpack_listed(packed)
            if epoch == began:
                return epoch, listed
        self._note_gone_from_now(keeper.node)
        epoch, packed = self._answer_of(keeper.node, keeper.listing.remote())
        return epoch, unpack_listed(packed)

    def _list_part(self, keeper: Peer, after: str | None) -> tuple[int, bytes, str | None]:
        if after is None:
            self._note_gone_from_now(keeper.node)
        part: tuple[int, bytes, str | None] = self._answer_of(keeper.node, keeper.listing_part.remote(after))
        return part

    def _note_gone_from_now(self, node: str) -> None:
        """What is deleted while the shelf is listed: it may be listed all the same."""
        with self._lock:
            self._gone[node], self._gone_keys[node] = set(), {}

    def _is_deleted_since(self, node: str, info: ArrayInfo) -> bool:
        """Whether the key of an array was deleted, or what had replaced the array, while the node was listed."""
        return info.version <= self._gone_keys[node].get((info.store, info.key or ""), 0)

    def _answer_of(self, node: str, call: Any) -> Any:
        answers = self._answers({node: call})
        if node not in answers:
            raise StoreUnavailable(f"nobody on node {node} says what its shelf has, neither its keeper nor another")
        return answers[node]

    def _drop(self, holdings: Iterable[tuple[Holding, Name | None]]) -> list[str]:
        """Delete files, and with them their store and key; returns the nodes that live and did not confirm it."""
        by_node: dict[str, list[tuple[str, Name | None]]] = defaultdict(list)
        for holding, name in holdings:
            by_node[holding.node].append((holding.array_id, name))
        keepers = self._all_keepers()
        done = self._answers(
            {node: keepers[node].drop.remote(some) for node, some in by_node.items() if node in keepers}
        )
        return self._silent(set(by_node).difference(done))

    def _finish(self, node: str, array_ids: list[str]) -> list[bool]:
        """Have a node seal what is listed; says of each array whether it is sealed.

        Raises
        ------
        StoreUnavailable
            The node lives, and does not say.
        """
        if not array_ids:
            return []
        keepers = self._all_keepers()
        epoch = self._epochs.get(node, 0)
        calls = {node: keepers[node].finish.remote(array_ids, epoch)} if node in keepers else {}
        answers = self._answers(calls)
        if node not in answers and self._silent([node]):
            raise StoreUnavailable(f"{_nodes([node])} did not say which arrays it has: its keeper does not answer")
        sealed: list[bool] = answers.get(node, [False] * len(array_ids))  # it died: what is not sealed will not be
        return sealed

    def _start_threads(self) -> None:
        super()._start_threads()
        threading.Thread(target=self._drop_replaced, name="drop", daemon=True).start()

    def _drop_replaced(self) -> None:
        while True:
            batch = {self._replaced.get()}
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.add(self._replaced.get_nowait())
            batch = {one for one in batch if not self._holds.put_off(one.old.array_id, one)}
            by_node: dict[str, list[Replacement]] = defaultdict(list)
            for replacement in batch:
                by_node[replacement.new.node].append(replacement)
            for node, some in by_node.items():
                self._drops.add(node, some)

    def _drop_or_again(self, node: str, replacements: list[Replacement]) -> None:
        try:
            self._drop_where_sealed(node, replacements)
        except Exception:  # noqa: BLE001 - the thread goes on
            _log.warning("arrays that were replaced on %s stay for now", node, exc_info=True)
            with self._lock:
                self._again += replacements

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
        with self._lock:  # or it was evacuated meanwhile, and is elsewhere by now
            for replacement, done in zip(replacements, sealed, strict=True):
                entry = self._index.find(replacement.store, replacement.key)
                if not done and entry is not None and entry.info.id == replacement.new.array_id:
                    new = Holding(entry.info.id, entry.node, entry.info)
                    self._again.append(replacement._replace(new=new))
        for replacement in ready:
            self._make_safe(replacement)
        silent = set(self._drop([(replacement.old, None) for replacement in ready]) or ())
        with self._lock:
            for replacement in ready:
                if replacement.old.node in silent:
                    self._again.append(replacement)
                else:
                    self._index.dropped(replacement)
                    self._note_gone(replacement.old.node, [replacement.old.array_id])

    def _look_at_nodes(self) -> None:
        super()._look_at_nodes()
        self._holds.expire()
        self._look_again()
        self._finish_deletions()

    def _look_again(self) -> None:
        """At what was replaced and could not be dropped yet."""
        with self._lock:
            again, self._again = self._again, []
        for replacement in again:
            self._replaced.put(replacement)


def _nodes(nodes: list[str]) -> str:
    return f"node {', '.join(nodes)}"
