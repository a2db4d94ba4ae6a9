"""The catalog: the actor that knows which key is which array, and orders the changes of each key.

What it does is decided in `outlive.catalog`, by conversations about a state; here they are begun.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping

from outlive.arrays.defect import Defect
from outlive.catalog import deletion, keys, locating, losing, pages, replaced, replicas, shelves
from outlive.catalog.asking import list_nodes
from outlive.catalog.state import Outside, State
from outlive.catalog.wire import (
    pack_bound,
    pack_found,
    pack_held,
    unpack,
    unpack_request,
)
from outlive.cluster.answering import Answering, succeed
from outlive.cluster.driver import CREWS, Driver
from outlive.cluster.port import Peers, in_group

_ROUNDS_EVERY = 1.0  # seconds


class Catalog:
    """Runs as the actor `catalog` in namespace `outlive`. Answers nothing before it has heard from every keeper."""

    _answering: Answering | None = None

    def __init__(self, peers: Peers, crews: Mapping[str, int] = CREWS) -> None:
        self.state = State(Outside(peers.now, peers.time, random.SystemRandom()))
        self.state.remember(peers.load)
        self.driver = Driver(self.state, peers, crews)
        self.take_over()
        self.driver.run(shelves.begin)
        self.go_on()

    def take_over(self) -> None:
        """Whatever catalog there was before answers nothing any more, even if it is not dead."""
        succeed(self.driver.peers)

    def go_on(self) -> None:
        """All that nobody asks for, from now on."""
        for work in (list_nodes, losing.look_at_nodes, shelves.mend):
            self.driver.every(_ROUNDS_EVERY, work)
        self.driver.every(0.0, replaced.drop)
        self._answering = Answering(self, self.driver.peers)

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

    def ping(self) -> None:
        """Answered once the catalog is ready."""

    def rounds(self) -> int:
        """How often this catalog has looked at the nodes and at what is to be copied."""
        return self.state.rounds

    # --- keys

    def bind(self, request: bytes) -> bytes:
        """See `keys.bind`: a request by `wire.pack_request`, the answer by `wire.pack_bound`."""
        return pack_bound(self.driver.step(keys.bind, *unpack_request(request)))

    @in_group("change")
    def replace(self, request: bytes) -> bytes:
        """See `keys.replace`; as `bind`."""
        return pack_bound(self.driver.run(keys.replace, *unpack_request(request)))

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
        """See `deletion.end`."""
        return self.driver.run(deletion.end, array_ids)

    # --- questions

    @in_group("list")
    def keys(self, store: str, prefix: str) -> list[str]:
        """Sorted, those that are being deleted left out."""
        return self.driver.run(keys.list_keys, store, prefix)

    @in_group("list")
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
    def locate(self, packed: bytes, hint: str | None, asker: str) -> bytes:
        """See `locating.locate`; an info by `wire.pack`, the answer's fields as JSON."""
        (info,) = unpack(packed)
        return json.dumps(self.driver.run(locating.locate, info, hint, asker)).encode()

    @in_group("slow")
    def kept_on(self, array_id: str) -> list[str]:
        """The nodes that keep an array, of those that the catalog knows of."""
        return self.driver.look(State.kept, array_id)

    @in_group("slow")
    def alone(self, array_ids: list[str], node: str) -> list[bool]:
        """Which of these arrays no other node keeps."""
        return self.driver.look(lambda state: [not state.kept(array_id, node) for array_id in array_ids])

    @in_group("slow")
    def lost(self, store: str) -> bytes:
        """What a store has lost, by `wire.pack_found`, the latest first."""
        lost = self.driver.look(lambda state: state.index.lost.of_store(store))
        return pages.pack_lost(sorted(lost, key=lambda one: -one.at))

    @in_group("slow")
    def lost_nodes(self) -> dict[str, tuple[int, int, float]]:
        """The nodes that took arrays with them: how many, of how many bytes, and when, in seconds since 1970."""
        return self.driver.look(lambda state: state.index.lost.by_node())

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
    def ended(self, array_ids: list[str], node: str) -> None:
        """See `replicas.ended`."""
        self.driver.step(replicas.ended, array_ids, node)

    # --- copies

    @in_group("slow")
    def join_copy(self, packed: bytes, home: str, node: str, kept: bool, stale: int = 0) -> int:
        """`join_copies`, for one."""
        (epoch,) = self.driver.run(replicas.join_copies, unpack(packed), home, node, kept=kept, stale=stale)
        return epoch

    @in_group("slow")
    def join_copies(self, packed: bytes, home: str, node: str, kept: bool) -> list[int]:
        """See `replicas.join_copies`; infos by `wire.pack`."""
        return self.driver.run(replicas.join_copies, unpack(packed), home, node, kept=kept)

    @in_group("copy")
    def replicate(self, packed: bytes, home: str) -> list[int]:
        """See `replicas.replicate`; infos by `wire.pack`."""
        return self.driver.run(replicas.replicate, unpack(packed), home)

    @in_group("copy")
    def secure(self, array_ids: list[str]) -> None:
        """See `replicas.secure`."""
        self.driver.run(replicas.secure, array_ids)

    @in_group("copy")
    def evacuate(self, packed: bytes, node: str, anywhere: bool) -> list[bool]:
        """See `replicas.evacuate`; infos by `wire.pack`."""
        return self.driver.run(replicas.evacuate, unpack(packed), node, anywhere=anywhere)

    @in_group("slow")
    def leave(self, packed: bytes, node: str) -> list[bool]:
        """See `replicas.leave`; infos by `wire.pack`."""
        return self.driver.step(replicas.leave, unpack(packed), node)

    @in_group("slow")
    def dropped(self, array_ids: list[str], node: str) -> None:
        """A node has dropped its copies of these arrays, as `leave` allowed.

        Said once more when it is done: the shelf may have been listed in between, when they were still there.
        """
        self.driver.run(shelves.forget_absent, node, array_ids)

    # --- shelves

    @in_group("change")
    def welcome(self, node: str) -> None:
        """A keeper has adopted arrays: list what is on its shelf now."""
        self.driver.run(shelves.welcome, node)

    @in_group("slow")
    def left(self, node: str, epoch: int) -> None:
        """See `shelves.leave`."""
        self.driver.step(shelves.leave, node, epoch)

    @in_group("change")
    def reconcile(self, node: str, packed: bytes) -> list[Defect]:
        """See `shelves.reconcile`; infos by `wire.pack`."""
        return self.driver.run(shelves.reconcile, node, unpack(packed))
