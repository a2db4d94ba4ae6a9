"""The catalog and the keepers of a played cluster: the real ones, whose rounds are tasks of the scheduler."""

from __future__ import annotations

import contextlib
import functools
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.fsck import mend_doubles
from outlive.catalog import losing, replaced, shelves
from outlive.catalog.asking import list_nodes
from outlive.catalog.index import Index
from outlive.cluster.answering import Answering, succeed
from outlive.cluster.catalog import Catalog
from outlive.cluster.keeper import Keeper
from outlive.cluster.port import Call
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.cluster.tenure import PROTOCOL
from outlive.errors import OutliveError
from outlive.testing.simulation.restarts import CLUSTER

if TYPE_CHECKING:
    from outlive.testing.simulation.machines import Machine
    from outlive.testing.simulation.peers import PlayedPeers
    from outlive.testing.simulation.played import PlayedCluster
    from outlive.testing.simulation.scheduler import Process

KEEPER_GROUPS = {"check": 1, "send": 8, "fetch": 8, "fill": 4, "drain": 1}
CATALOG_GROUPS = {"slow": 8, "change": 8, "copy": 4}


class PlayedCatalog(Catalog):
    """A catalog."""

    def __init__(self, cluster: PlayedCluster, process: Process, peers: PlayedPeers) -> None:
        self._cluster, self._process = cluster, process
        super().__init__(peers)

    def take_over(self) -> None:
        if self._cluster.plan.ports:
            self._turn = succeed(self.driver.peers)

    def go_on(self) -> None:
        if self._cluster.plan.ports:
            self._answering = Answering(self, self.driver.peers, self._turn, self._cluster.scheduler.kill_running)
        for work in (list_nodes, losing.look_at_nodes, shelves.mend):
            self._process.spawn(
                work.__name__, self._cluster.rounds_of, self._process, functools.partial(self.driver.run, work)
            )
        self.driver.every(0.0, replaced.drop)

    @property
    def index(self) -> Index:
        return self.state.index

    @property
    def left_nodes(self) -> set[str]:
        """The nodes that were left: they get no new replicas."""
        return self.state.left

    def is_calm(self) -> bool:
        """Whether the catalog has no work left."""
        state = self.state
        return not (
            state.again or state.unfinished or state.unlisted or state.under_way.listing or state.index.copies.lacking
        )


class PlayedKeeper(Keeper):
    """A keeper of a shelf."""

    _tenure: Any

    def __init__(self, cluster: PlayedCluster, process: Process, peers: PlayedPeers, shelf: Shelf | None) -> None:
        self._cluster, self._process, self._its_shelf, self._looked = cluster, process, shelf, False
        super().__init__(peers, CLUSTER, process.node.name)

    @property
    def shelf(self) -> Shelf:
        return self._shelf

    def take_over(self, cluster: str) -> Shelf:
        self._tenure = SimpleNamespace(left_behind=False, review=lambda: None)
        if self._its_shelf is None:  # Ray is started again in this schedule
            shelf = super().take_over(cluster)
            self._process.at_death.append(self._let_go)
            return shelf
        with open(f"{self._its_shelf.path}/keeper", "w") as file:
            file.write(f"{PROTOCOL}\n")
        list(mend_doubles(self._its_shelf))
        return self._its_shelf

    def _let_go(self) -> None:
        """Close the keeper's lock, once: another file may get the descriptor."""
        lock, self._tenure._lock = self._tenure._lock, -1  # noqa: SLF001
        if lock >= 0:
            os.close(lock)

    def adopts(self) -> bool:
        return self._its_shelf is None and super().adopts()

    def go_on(self) -> None:
        if self._cluster.plan.ports:
            self.connect()
        for work in (self._make_rounds, self._consider):
            self._process.spawn(work.__name__, self._cluster.rounds_of, self._process, work)
        if self._its_shelf is None:
            tell, ledger = self._tell_of_adopted, self._shelf.ledger
            self._process.spawn(
                tell.__name__, self._cluster.rounds_of, self._process, tell, lambda: bool(ledger.adopted)
            )

    def _make_rounds(self) -> None:
        self._leave_if_removed()
        self._rounds += 1
        works = [self._tending.balance] if self._shelf.disk is not None else []
        works += [self._adopt_again] if self._its_shelf is None else []
        works += [self._fetches.say_again, self._tending.trim, self._tending.clear_orphans]
        for work in (*works, self._tending.end_what_is_over):
            with contextlib.suppress(OutliveError, FileNotFoundError):  # the catalog is stopped, or the shelf removed
                work()

    def _consider(self) -> None:
        """Look at all nodes only once, unless the machine drains or was left: no other machine is taken away."""
        machine: Machine = self._process.node
        if not self._looked or self._evacuation.left or machine.draining:
            self._evacuation.consider()
            self._looked = True

    def _leave_if_removed(self) -> None:
        if self._evacuation.leaving:
            self._peers.sleep(1e9)


class Helper(ShelfCalls):
    """Another process of a node: it makes the catalog's calls on the node's shelf."""

    def __init__(self, node: str, shelf: Shelf) -> None:
        self._node, self._shelf = node, shelf

    def do(self, call: Call) -> Any:
        return getattr(self, call.method)(*call.args)
