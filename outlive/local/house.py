"""The house: keeper and catalog of a local store, in one process. They call each other; others, by `server`."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from outlive import actor_logs
from outlive.arrays.removal import clear_removed
from outlive.arrays.tend.adopt import adopt
from outlive.cluster.catalog import Catalog
from outlive.cluster.keeper import Keeper
from outlive.cluster.port import PATIENCE, Call, Nobody, Peers
from outlive.cluster.tenure import PROTOCOL, Tenure
from outlive.local import jobs
from outlive.local.one_node import OneNode
from outlive.local.place import CLUSTER, Place, new_id, node_of
from outlive.local.questions import About
from outlive.local.server import Server

_LOOK_EVERY = 1.0  # seconds between two looks whether anybody is there
_EMPTY_ROUNDS = 2  # looks in a row that find nobody, before the keeper leaves: the next program may be starting
_log = logging.getLogger(__name__)


class House:
    """Tends the store at `place` from now on. Raises what keeper and catalog raise as they start."""

    def __init__(self, place: Place) -> None:
        self._over = threading.Event()
        peers = _Inside(place, node_of(place))
        peers.keeper = LocalKeeper(peers, place, self._over.set)
        peers.catalog = LocalCatalog(peers)
        about = About(PROTOCOL, os.getpid(), peers.node_id, peers.keeper.path)
        self._server = Server(place.socket, about, peers.keeper, peers.catalog, self._over.set)

    def wait_until_over(self) -> None:
        """Wait until the store has ended: nobody uses it, or somebody has shut it down or removed it."""
        self._over.wait()
        self._server.close()


class _Inside(OneNode):
    """The port of keeper and catalog, which are in the same process."""

    keeper: LocalKeeper | None = None
    catalog: LocalCatalog | None = None

    def __init__(self, place: Place, node: str) -> None:
        self.node_id, self._jobs = node, place.jobs
        self._saved = dict[str, bytes]()

    def ask_keeper(self, node: str, call: Call, _: float | None = PATIENCE) -> Any:
        self.see(node)
        return getattr(self.keeper, call.method)(*call.args)

    def find_keeper(self, node: str, *, start: bool = False) -> None:  # noqa: ARG002 - it is there
        self.see(node)

    def ask_catalog(self, call: Call, _: float | None = PATIENCE) -> Any:
        if self.catalog is None:
            raise Nobody("the catalog has not started yet")
        return getattr(self.catalog, call.method)(*call.args)

    def tell_catalog(self, call: Call) -> None:
        self.ask_catalog(call)

    def jobs_that_ended(self, numbers: set[int]) -> set[int]:
        return numbers - jobs.living(self._jobs)

    def load(self, key: str) -> bytes | None:
        return self._saved.get(key)

    def save(self, key: str, value: bytes) -> None:
        self._saved[key] = value


class LocalTenure(Tenure):
    """The tenure of the shelf of a local store: the one that is there, or a new one."""

    def __init__(self, peers: Peers, place: Place) -> None:
        self._place = place
        there = place.shelves()
        self._name, self._others = (there[0], there[1:]) if there else (new_id(), [])
        super().__init__(peers, CLUSTER, self._name)

    def chosen_root(self) -> tuple[str, str | None]:
        return self._place.root, self._place.on_disk

    def claim(self) -> None:
        """Take over what a keeper left that was killed as the store ended, and a program came just then."""
        clear_removed(self._place.folder)
        for name in self._others:
            adopt(self.shelf, f"{self._place.folder}/{name}", same_cluster=True)


class LocalKeeper(Keeper):
    """The keeper. `over` is called once the store has ended."""

    def __init__(self, peers: _Inside, place: Place, over: Callable[[], None]) -> None:
        self._place, self._over, self._empty = place, over, 0
        super().__init__(peers, CLUSTER, peers.node_id)

    @property
    def path(self) -> str:
        """The shelf's."""
        return self._shelf.path

    def begin_tenure(self, cluster: str) -> Tenure:  # noqa: ARG002 - it is always the same
        return LocalTenure(self._peers, self._place)

    def connect(self) -> None:
        """There is nobody else."""

    def works(self) -> dict[Callable[[], None], float]:
        works = super().works()
        for alien in (self._serve_again, self._adopt_again, self._evacuation.consider, self._fetches.say_again):
            del works[alien]
        return {**works, self._leave_if_unused: _LOOK_EVERY}

    def close(self) -> int:
        freed = super().close()
        _log.info("the store was shut down")
        return freed

    def _leave_if_unused(self) -> None:
        self._empty = 0 if self._is_used() else self._empty + 1
        if self._empty > _EMPTY_ROUNDS and self._shelf.leave(lambda: not self._is_used()):
            self._over()

    def _is_used(self) -> bool:
        return bool(jobs.living(self._place.jobs)) or bool(self._shelf.ids())

    def _leave_if_removed(self) -> None:
        if not self._stop.is_set() and not self._shelf.exists():
            self._stop.set()
            self._over()


class LocalCatalog(Catalog):
    """The catalog: no other can be there, and no other process answers in its place."""

    def take_over(self) -> None:
        actor_logs.begin()

    def answer(self) -> None:
        pass
