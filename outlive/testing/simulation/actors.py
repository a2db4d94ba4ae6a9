"""The catalog and the keepers of a played cluster: the real ones, whose rounds are tasks of the scheduler."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.cached import CachedCopies
from outlive.arrays.tend.ending import Endings
from outlive.catalog import losing, replaced, shelves
from outlive.catalog.asking import list_nodes
from outlive.catalog.index import Index
from outlive.cluster.catalog import Catalog
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.fetches import Fetches
from outlive.cluster.keeper import PROTOCOL, Keeper
from outlive.cluster.listing import Listing
from outlive.cluster.port import Call
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.errors import OutliveError

if TYPE_CHECKING:
    from outlive.testing.simulation.cluster import Cluster
    from outlive.testing.simulation.peers import PlayedPeers
    from outlive.testing.simulation.scheduler import Process

KEEPER_GROUPS = {"check": 1, "send": 8, "fetch": 8, "drain": 1}
CATALOG_GROUPS = {"slow": 8, "change": 8, "copy": 4}


class PlayedCatalog(Catalog):
    """A catalog."""

    def __init__(self, cluster: Cluster, process: Process, peers: PlayedPeers) -> None:
        self._cluster, self._process = cluster, process
        super().__init__(peers)

    def go_on(self) -> None:
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
        """Nodes that were left, where no replica is made."""
        return self.state.left

    def is_calm(self) -> bool:
        """Whether nothing is left to be done."""
        state = self.state
        return not (
            state.again or state.unfinished or state.unlisted or state.under_way.listing or state.index.copies.lacking
        )


class PlayedKeeper(Keeper):
    """A keeper of a shelf."""

    def __init__(self, cluster: Cluster, process: Process, peers: PlayedPeers, shelf: Shelf) -> None:
        self._peers, self._node, self._shelf = peers, process.node.name, shelf
        self._root, self._on_disk, self._path, self._lock = "", None, shelf.path, -1
        self._adopted, self._left_behind, self._rounds = 0, False, 0
        self._endings, self._cached_copies, self._listing = Endings(shelf), CachedCopies(shelf), Listing(shelf)
        self._fetches, self._evacuation = Fetches(shelf, self._node, peers), Evacuation(shelf, self._node, peers)
        self._stop = threading.Event()
        with open(f"{shelf.path}/keeper", "w") as file:
            file.write(f"{PROTOCOL}\n")
        for work in (self._make_rounds, self._evacuation.consider):
            process.spawn(work.__name__, cluster.rounds_of, process, work)

    def _make_rounds(self) -> None:
        self._leave_if_removed()
        self._rounds += 1
        for work in (self._trim, self._clear_orphans, self._end_what_is_over):
            with contextlib.suppress(OutliveError):  # a catalog that is stopped: it goes on
                work()

    def _leave_if_removed(self) -> None:
        if self._evacuation.leaving:
            self._peers.sleep(1e9)

    def close_files(self) -> None:
        """As the kernel does when a process dies."""
        for one in (self._endings, self._cached_copies):
            one._changes.close()  # noqa: SLF001


class Helper(ShelfCalls):
    """Another process of a node, which does what the catalog asks of its shelf."""

    def __init__(self, node: str, shelf: Shelf) -> None:
        self._node, self._shelf = node, shelf

    def do(self, call: Call) -> Any:
        return getattr(self, call.method)(*call.args)
