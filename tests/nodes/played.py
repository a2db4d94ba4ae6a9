"""A cluster that is played in this process: real shelves and the real catalog, without Ray, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from outlive import lookup
from outlive.arrays.ended import Why
from outlive.arrays.info import ArrayInfo
from outlive.arrays.marks import cached, deadline_of, keep
from outlive.arrays.names import forbid
from outlive.arrays.shelf import Shelf
from outlive.cluster import actors, evacuation, fetches, holders, peers, transfer
from outlive.cluster.catalog import Catalog
from outlive.cluster.commit import commit
from outlive.cluster.fetches import Fetches
from outlive.cluster.listing import Listing
from outlive.cluster.session import Session
from outlive.cluster.wire import pack
from outlive.errors import OutliveError
from outlive.ray_internals.nodes import Node


class Remote:
    """Asked as an actor is: `actor.method.remote(...)`. A call is made at once; its error comes with its answer."""

    def __init__(
        self, target: Any, lives: Callable[[], bool] = lambda: True, hangs: Callable[[], bool] = lambda: False
    ) -> None:
        self._target, self._lives, self._hangs = target, lives, hangs

    def __getattr__(self, name: str) -> Any:
        def remote(*args: Any, **options: Any) -> Callable[[], Any]:
            if self._hangs():
                return _never
            try:
                if not self._lives():
                    raise ActorDiedError
                value = getattr(self._target, name)(*args, **options)
            except Exception as error:  # it is the answer
                raised = error

                def answer() -> Any:
                    raise raised

                return answer
            return lambda: value

        return SimpleNamespace(remote=remote)


class PlayedKeeper:
    """What a keeper answers, of one shelf."""

    def __init__(self, shelf: Shelf, node: str) -> None:
        self.shelf, self.node, self.fetches = shelf, node, Fetches(shelf, node)
        self.listed = Listing(shelf)
        self.fetch = lambda packed, hint, kept=False, epoch=0: self.fetches.fetch(packed, hint, kept=kept, epoch=epoch)

    def listing(self) -> tuple[int, bytes]:
        return self.listed.all()

    def listing_part(self, after: str | None = None) -> tuple[int, bytes, str | None]:
        return self.listed.part(after)

    def finish(self, array_ids: list[str], epoch: int) -> list[bool]:
        return [self.shelf.has(array_id) or self.shelf.finish(array_id, epoch) for array_id in array_ids]

    def drop(self, arrays: list[tuple[str, tuple[str, str] | None]]) -> list[bool]:
        return [self.shelf.delete(array_id, name) for array_id, name in arrays]

    def forbid(self, names: list[tuple[str, str, int]]) -> None:
        forbid(self.shelf, names)

    def holds(self, array_ids: list[str]) -> list[bool]:
        return [self.shelf.has(array_id) for array_id in array_ids]

    def holds_from_now(self, array_ids: list[str]) -> tuple[int, list[bool]]:
        return self.shelf.raise_epoch(), self.holds(array_ids)

    def unsealed(self, array_ids: list[str]) -> list[bool]:
        return [self.shelf.has_draft(array_id) for array_id in array_ids]

    def never_put(self, array_ids: list[str]) -> list[bool]:
        found = map(self.shelf.ended.find, array_ids)
        return [ended is not None and ended.why == Why.NOT_PUT for ended in found]

    def given_up(self) -> list[str]:
        return self.shelf.ended.given_up()

    def keep(self, array_ids: list[str]) -> list[bool]:
        return [keep(self.shelf, array_id) for array_id in array_ids]

    def describe(self, array_ids: list[str]) -> list[bytes]:
        return [pack(info for info in self.shelf.infos(array_ids) if info.key is not None)]

    def touch(self, array_id: str, deadline_ns: int) -> bool:
        return self.shelf.set_deadline(array_id, deadline_ns)

    def deadline_ns(self, array_id: str) -> int:
        return deadline_of(self.shelf, array_id)

    def why_ended(self, array_id: str) -> None:
        return None

    def room(self) -> int:
        return self.shelf.ledger.free


class PlayedCatalog(Catalog):
    """The catalog itself. What its threads do happens when it is told to."""

    def __init__(self, cluster: PlayedCluster, seen: str) -> None:
        self._cluster, self._seen_first = cluster, seen
        super().__init__()
        self._pool = ThreadPoolExecutor(1)  # in the same order each time

    def _list_shelves(self, nodes: Iterable[str]) -> list[list[tuple[str, ArrayInfo]]]:
        return super()._list_shelves(sorted(set(self._seen_first).intersection(nodes)))

    def _start_threads(self) -> None:
        pass

    def _list_nodes(self) -> None:
        self._nodes = {
            node: Node(node, node, node, node == "a", self._cluster.lives(node), None, None, None, 0, None)
            for node in self._cluster.all
        }

    def _answers(self, calls: Mapping[str, Any], patience: float = 0) -> dict[str, Any]:
        return super()._answers(calls, 0.05)

    def _ask_shelf(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
        if node in self._cluster.frozen:
            return _never
        return getattr(Remote(self._cluster.keepers[node]._target), method).remote(*args)

    def drop_replaced(self) -> None:
        while not self._replaced.empty():
            replacement = self._replaced.get()
            if self._holds.put_off(replacement.old.array_id, replacement):
                continue
            self._drop_where_sealed(replacement.new.node, [replacement])


def _never() -> Any:
    """The answer of a process that is stopped."""
    raise AssertionError


def _wait(refs: list[Any], num_returns: int = 1, timeout: float = 0) -> tuple[list[Any], list[Any]]:
    return [ref for ref in refs if ref is not _never], [ref for ref in refs if ref is _never]


def _get(ref: Any, timeout: float | None = None) -> Any:
    try:
        return ref()
    except OutliveError as error:
        raise RayTaskError("method", "Traceback", error, proctitle="", pid=1, ip="ip").as_instanceof_cause() from None


class PlayedCluster:
    """Nodes `a` (the head), `b`, ..."""

    def __init__(self, root: str, count: int) -> None:
        self.all = "abcdef"[:count]
        self.dead = set[str]()
        self.stopped = set[str]()  # nodes whose keepers are
        self.frozen = set[str]()  # nodes of which no process goes on
        self.shelves = {node: Shelf(f"{root}/{node}", budget=64 << 20) for node in self.all}
        self.keepers = {node: self._keeper(node, shelf) for node, shelf in self.shelves.items()}

    def lives(self, node: str) -> bool:
        return node not in self.dead

    def hangs(self, node: str) -> bool:
        return node in self.stopped or node in self.frozen

    def replace_keeper(self, node: str) -> None:
        """The keeper is gone for good, and another has its name."""
        self.keepers[node]._lives = lambda: False
        self.keepers[node] = self._keeper(node, self.shelves[node])

    def _keeper(self, node: str, shelf: Shelf) -> Remote:
        return Remote(PlayedKeeper(shelf, node), lambda: self.lives(node), lambda: self.hangs(node))

    def restart_catalog(self, seen: str = "abcdef") -> PlayedCatalog:
        """A new one, which sees these nodes' keepers: others start later."""
        self.keepers = {node: keeper for node, keeper in self.keepers.items() if self.lives(node)}
        self.catalog = PlayedCatalog(self, seen)
        return self.catalog

    def kill(self, node: str) -> None:
        """As the catalog sees it, once it has noticed."""
        self.dead.add(node)
        self.catalog._list_nodes()
        self.catalog._look_for_dead()

    def session(self, node: str) -> PlayedSession:
        return PlayedSession(self, node)

    def put(self, node: str, key: str, value: int, count: int = 5, replicas: int = 1) -> Any:
        """As `Store.put`; returns its info."""
        draft = self.draft(node, key, value, count, replicas)
        commit(self.session(node), [draft])
        if replicas > 1:
            self.catalog.replicate(pack([draft.info]), node)
        return draft.info

    def draft(self, node: str, key: str, value: int, count: int = 5, replicas: int = 1) -> Any:
        return self.shelves[node].draft_of(np.full(count, value), key=key, store="s", replicas=replicas)

    def get(self, node: str, key: str) -> int | None:
        array = lookup.read(self.session(node), "s", key)
        return None if array is None else int(array[0])

    def holders(self, array_id: str) -> dict[str, bool]:
        """Which shelves have it, and whether they keep it."""
        return {
            node: array_id not in cached(shelf)
            for node, shelf in self.shelves.items()
            if self.lives(node) and shelf.has(array_id)
        }


class PlayedSession(Session):
    """Of a process on a node."""

    def __init__(self, cluster: PlayedCluster, node: str) -> None:
        self.shelf, self.node = cluster.shelves[node], node
        self._catalog, self._keeper = Remote(_Latest(cluster)), cluster.keepers[node]
        self.chunk_size = 1 << 20

    def ask(self, ref: Any, timeout: float | None = None) -> Any:
        return ref()


class _Latest:
    def __init__(self, cluster: PlayedCluster) -> None:
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster.catalog, name)


def play(root: str, count: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCluster]:
    """Where Ray would be asked, this cluster is."""
    cluster = PlayedCluster(root, count)

    def keeper(node: str) -> Any:
        if not cluster.lives(node):
            raise ValueError(node)
        return cluster.keepers[node]

    def receive(keeper: Any, array_id: str, begin: int, end: int | None, step: int, epoch: int = 0) -> Iterator[Any]:
        shelf = keeper._target.shelf
        if not shelf.has(array_id):
            shelf.finish(array_id, epoch)
        for part in transfer.send(shelf, array_id, begin, end, step):
            yield part._replace(data=bytes(part.data)) if isinstance(part, transfer.Chunk) else part

    monkeypatch.setattr(actors, "keeper", keeper)
    monkeypatch.setattr(actors, "catalog", lambda: Remote(cluster.catalog))
    monkeypatch.setattr(actors, "keeper_nodes", lambda: sorted(cluster.keepers))
    monkeypatch.setattr(transfer, "receive", receive)
    monkeypatch.setattr(fetches, "ray", SimpleNamespace(get=lambda ref, timeout: ref()))
    monkeypatch.setattr(peers, "ray", SimpleNamespace(get=_get, wait=_wait))
    monkeypatch.setattr(peers, "_GRACE", 0)
    monkeypatch.setattr(evacuation, "ray", SimpleNamespace(get=lambda ref: ref()))
    monkeypatch.setattr(holders, "kv", SimpleNamespace(get=lambda _: None, put=lambda *_: None))
    monkeypatch.setattr(Fetches, "_chunk_size", lambda _: 1 << 20)
    cluster.restart_catalog()
    yield cluster
    for shelf in cluster.shelves.values():
        shelf.remove()
