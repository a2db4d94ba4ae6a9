"""The catalog: the actor that knows which array each key stands for, and orders the changes of each key.

`outlive.catalog` decides what it does, by conversations over a state. This module begins them.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Mapping

from outlive import actor_logs
from outlive.arrays.defect import Defect
from outlive.catalog import deletion, keys, locating, losing, pages, reconciling, replaced, replicas, shelves
from outlive.catalog.asking import list_nodes
from outlive.catalog.state import Outside, State
from outlive.catalog.wire import (
    pack_bound,
    pack_found,
    pack_held,
    unpack,
    unpack_request,
)
from outlive.cluster import rate
from outlive.cluster.answering import Answering, succeed
from outlive.cluster.driver import CREWS, Driver
from outlive.cluster.measuring import CatalogMeasures, works
from outlive.cluster.port import Peers, in_group
from outlive.collecting import without_collections
from outlive.node import Autoscaler

_ROUNDS_EVERY = 1.0  # seconds
_MANY = 1 << 17  # bytes of a request, which names a thousand arrays or more
_log = logging.getLogger(__name__)


class Catalog:
    """The actor `catalog` in namespace `outlive`. It is ready once it has asked every keeper what its shelf has."""

    _answering: Answering | None = None
    _turn = 0

    def __init__(self, peers: Peers, crews: Mapping[str, int] = CREWS) -> None:
        self.state = State(Outside(peers.now, peers.time, random.SystemRandom()))
        self.state.rate = rate.background()
        self.driver = Driver(self.state, peers, crews)
        self.take_over()
        self.state.remember(peers.load)  # until now a former catalog may have noted, and said, that an array is lost
        # A head that starts anew where the former one was has its shelf. Nobody else knows which keys are on it alone.
        # If that takes longer, or the former keeper is ending still, they count as lost until they are adopted.
        peers.adopt_here()
        self.driver.run(shelves.begin)
        self.go_on()

    def take_over(self) -> None:
        """Make sure that no former catalog answers any more, even if it is not dead."""
        actor_logs.begin()
        self._turn = succeed(self.driver.peers)

    def go_on(self) -> None:
        """Begin the work that goes on by itself."""
        for work in (list_nodes, losing.look_at_nodes, shelves.mend):
            self.driver.every(_ROUNDS_EVERY, work)
        self.driver.every(0.0, replaced.drop)
        self.measure()
        self.answer()
        _log.info("the catalog is ready; shelves that it knows of: %d", len(self.state.shelves))

    def measure(self) -> None:
        """Begin to tell those who watch of itself, if somebody does."""
        watch = self.driver.peers.watch()
        if watch is not None:
            for work, seconds in works(CatalogMeasures(self.driver, watch, self.refusals).tell).items():
                self.driver.again(work, seconds)

    def answer(self) -> None:
        """Have a server of calls."""
        self._answering = Answering(self, self.driver.peers, self._turn, _end)

    @in_group("slow")
    def cut(self, line: bytes) -> None:
        """End a connection by which calls came: none of them is under way any more, or can begin.

        Raises
        ------
        StoreUnavailable
            One that has begun takes long.
        """
        if self._answering is not None:
            self._answering.cut(line)

    def serves(self, name: str) -> bool:
        """Whether the server of that name is this catalog's, and not a former one's."""
        return self._answering is not None and self._answering.serves(name)

    def refusals(self) -> tuple[int, int]:
        """The connections that the server refused, and those that it turned away, as there were too many."""
        counts = None if self._answering is None else self._answering.counts
        return (0, 0) if counts is None else (counts.refused, counts.full)

    def ping(self) -> None:
        """Answered once the catalog is ready."""

    def rounds(self) -> int:
        """How many rounds this catalog has made: see `losing.look_at_nodes`."""
        return self.state.rounds

    # --- keys

    def bind(self, request: bytes) -> bytes:
        """See `keys.bind`. The request is packed by `wire.pack_request`, the answer by `wire.pack_bound`."""
        return self._bind(request) if len(request) < _MANY else without_collections(lambda: self._bind(request))

    def _bind(self, request: bytes) -> bytes:
        return pack_bound(self.driver.step(keys.bind, *unpack_request(request)))

    @in_group("change")
    def replace(self, request: bytes) -> bytes:
        """See `keys.replace`. Request and answer are packed as those of `bind`."""
        return pack_bound(self.driver.run(keys.replace, *unpack_request(request)))

    @in_group("change")
    def add(self, request: bytes) -> bytes:
        """See `keys.add`. Request and answer are packed as those of `bind`. For None, the answer is empty."""
        bound = self.driver.run(keys.add, *unpack_request(request))
        return b"" if bound is None else pack_bound(bound)

    def unbind(self, packed: bytes, node: str) -> None:
        """See `keys.unbind`; infos by `wire.pack`."""
        self.driver.step(keys.unbind, unpack(packed), node)

    @in_group("change")
    def take_off(self, array_ids: list[str]) -> None:
        """See `keys.take_off`."""
        self.driver.step(keys.take_off, array_ids)

    @in_group("change")
    def verify(self, array_id: str) -> bool:
        """See `keys.verify`."""
        return self.driver.run(keys.verify, array_id)

    def find(self, store: str, some: list[str]) -> bytes:
        """See `keys.find`; by `wire.pack_found`."""
        return pack_found(self.driver.look(keys.find, store, some))

    def hold(self, store: str, some: list[str]) -> bytes:
        """See `keys.hold`; by `wire.pack_held`."""
        return pack_held(*self.driver.step(keys.hold, store, some))

    def release(self, number: int) -> None:
        """See `keys.release`."""
        self.driver.step(keys.release, number)

    @in_group("change")
    def end(self, array_ids: list[str]) -> list[str]:
        """See `losing.end`."""
        return self.driver.run(losing.end, array_ids)

    # --- questions

    @in_group("list")
    def keys(self, store: str, prefix: str) -> list[str]:
        """The keys of a store that begin with `prefix`, sorted, without those that are being deleted."""
        return self.driver.run(keys.list_keys, store, prefix)

    @in_group("list")
    def names(self, store: str, prefix: str, separator: str, dtypes: list[str]) -> list[str]:
        """See `keys.names`."""
        return self.driver.run(keys.names, store, prefix, separator, dtypes)

    @in_group("entries")
    def entries(self, store: str, prefix: str) -> bytes:
        """See `keys.entries`; by `wire.pack_found`."""
        return pack_found(self.driver.run(keys.entries, store, prefix))

    @in_group("slow")
    def ids(self, store: str) -> list[str]:
        """See `keys.ids`."""
        return self.driver.look(keys.ids, store)

    @in_group("list")
    def count(self, store: str) -> int:
        return self.driver.run(keys.count, store)

    @in_group("slow")
    def totals(self) -> dict[str, tuple[int, int]]:
        """See `keys.totals`."""
        return self.driver.look(keys.totals)

    @in_group("slow")
    def some_keys(self, store: str, like: str, limit: int) -> list[str]:
        return self.driver.look(lambda state: state.index.some_keys(store, like, limit))

    @in_group("change")
    def listed(self, array_ids: list[str], node: str, epoch: int) -> set[str] | None:
        """See `keys.listed`."""
        return self.driver.run(keys.listed, array_ids, node, epoch)

    @in_group("slow")
    def locate(self, packed: bytes, hint: str | None, asker: str, copies: bool = False) -> bytes:
        """See `locating.locate`; an info by `wire.pack`, the answer's fields as JSON."""
        (info,) = unpack(packed)
        return json.dumps(self.driver.run(locating.locate, info, hint, asker, copies)).encode()

    @in_group("slow")
    def kept_on(self, array_id: str) -> list[str]:
        """The living nodes that keep an array, as far as the catalog knows."""
        return self.driver.look(State.kept, array_id)

    @in_group("slow")
    def alone(self, array_ids: list[str], node: str) -> list[bool]:
        """Whether each of these arrays is kept by no node but `node`."""
        return self.driver.look(lambda state: [not state.kept(array_id, node) for array_id in array_ids])

    @in_group("slow")
    def lost(self, store: str) -> bytes:
        """The lost arrays of a store, the latest first, packed by `wire.pack_found`."""
        lost = self.driver.look(lambda state: state.index.lost.of_store(store))
        return pages.pack_lost(sorted(lost, key=lambda one: -one.at))

    @in_group("slow")
    def lost_nodes(self) -> dict[str, tuple[int, int, float]]:
        """The nodes that took arrays with them: how many arrays, of how many bytes, and when (seconds since 1970)."""
        return self.driver.look(lambda state: state.index.lost.by_node())

    @in_group("slow")
    def autoscaler(self) -> Autoscaler | None:
        """The autoscaler, as the head sees it. Elsewhere, one that removes nothing may look like one that does."""
        return self.driver.peers.autoscaler()

    # --- arrays without a key

    @in_group("change")
    def erase(self, packed: bytes, hint: str | None) -> bool:
        """See `deletion.erase`; an info by `wire.pack`."""
        (info,) = unpack(packed)
        return self.driver.run(deletion.erase, info, hint)

    @in_group("change")
    def touch(self, packed: bytes, deadline_ns: int, hint: str | None) -> bool:
        """See `locating.touch`; an info by `wire.pack`."""
        (info,) = unpack(packed)
        return self.driver.run(locating.touch, info, deadline_ns, hint)

    @in_group("slow")
    def ended(self, array_ids: list[str], node: str, over: bool = False) -> None:
        """See `replicas.ended`."""
        self.driver.run(replicas.ended, array_ids, node, over)

    # --- copies

    @in_group("slow")
    def join_copy(self, packed: bytes, home: str, node: str, kept: bool, epoch: int) -> int:
        """`join_copies` for one array."""
        (answer,) = self.driver.run(replicas.join_copies, unpack(packed), home, node, kept=kept, epoch=epoch)
        return answer

    def join_copy_at_once(self, packed: bytes, home: str, node: str, kept: bool, epoch: int) -> int | None:
        """`join_copy`, if it waits for nothing; else None. Most first reads of other nodes' arrays wait for this."""
        epochs = self.driver.step(replicas.join_at_once, unpack(packed), home, node, kept, epoch)
        return None if epochs is None else epochs[0]

    @in_group("slow")
    def join_copies(self, packed: bytes, home: str, node: str, kept: bool, epoch: int) -> list[int]:
        """See `replicas.join_copies`; infos by `wire.pack`."""
        return self.driver.run(replicas.join_copies, unpack(packed), home, node, kept=kept, epoch=epoch)

    @in_group("copy")
    def replicate(self, packed: bytes, home: str, epoch: int) -> list[int]:
        """See `replicas.replicate`; infos by `wire.pack`."""
        return self.driver.run(replicas.replicate, unpack(packed), home, epoch)

    @in_group("secure")
    def secure(self, array_ids: list[str]) -> None:
        """See `replicas.secure`."""
        self.driver.run(replicas.secure, array_ids)

    @in_group("copy")
    def evacuate(self, packed: bytes, node: str, epoch: int, anywhere: bool) -> list[bool]:
        """See `replicas.evacuate`; infos by `wire.pack`."""
        return self.driver.run(replicas.evacuate, unpack(packed), node, epoch, anywhere=anywhere)

    @in_group("slow")
    def leave(self, packed: bytes, node: str) -> list[bool]:
        """See `replicas.leave`; infos by `wire.pack`."""
        return self.driver.step(replicas.leave, unpack(packed), node)

    @in_group("slow")
    def dropped(self, array_ids: list[str], node: str) -> None:
        """Note that a node has dropped its copies of these arrays, as `leave` allowed.

        A listing of its shelf between the two calls may still have had the copies.
        """
        self.driver.run(reconciling.forget_absent, node, array_ids)

    # --- shelves

    @in_group("change")
    def welcome(self, node: str) -> None:
        """See `shelves.welcome`."""
        self.driver.run(shelves.welcome, node)

    @in_group("slow")
    def found_shelf(self, node: str) -> None:
        """See `losing.found_shelf`."""
        self.driver.step(losing.found_shelf, node)

    @in_group("slow")
    def left(self, node: str, epoch: int) -> None:
        """See `shelves.leave`."""
        self.driver.step(shelves.leave, node, epoch)

    @in_group("change")
    def reconcile(self, node: str, packed: bytes) -> list[Defect]:
        """See `reconciling.reconcile`; infos by `wire.pack`."""
        return self.driver.run(reconciling.reconcile, node, unpack(packed))


def _end() -> None:
    """End a catalog whose place another has taken, if Ray has not: it would go on to note what is lost, by old news."""
    _log.warning("another catalog has started: this one ends")
    os._exit(1)
