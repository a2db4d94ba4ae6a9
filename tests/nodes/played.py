"""A cluster that is played in this process: real shelves, the real catalog and a port without Ray, step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from outlive.arrays.info import ArrayInfo
from outlive.arrays.marks import cached, deadline_of
from outlive.arrays.put_options import PutOptions
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.cached import CachedCopies
from outlive.arrays.writer import Writer
from outlive.catalog import asking, deletion, losing, replaced, replicas, saving, shelves
from outlive.catalog.index import Holding, Index
from outlive.catalog.instructions import Conversation, Wait
from outlive.catalog.state import State
from outlive.catalog.wire import pack
from outlive.cluster.catalog import Catalog
from outlive.cluster.fetches import Fetches
from outlive.cluster.links import Links
from outlive.cluster.listing import Listing
from outlive.cluster.own_copies import OwnCopies
from outlive.cluster.port import PATIENCE, Call, NoAnswer, Nobody, RealTime
from outlive.cluster.serving import Serving
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.cluster.small_copies import Parcel, send_small
from outlive.cluster.transfer import Chunk, send
from outlive.errors import OutliveError
from outlive.node import Autoscaler, Node
from outlive.store import reading
from outlive.store.commit import commit
from outlive.store.session import Session

Instead = Callable[[str, Call, Callable[[], Any]], Any]
_NODES = "abcdef"


class InStead(ShelfCalls):
    """Another process of a node, which answers where its keeper does not."""

    def __init__(self, shelf: Shelf, node: str) -> None:
        self._shelf, self._node = shelf, node


class PlayedKeeper(InStead):
    """A keeper's answers about one shelf."""

    def __init__(self, shelf: Shelf, node: str, peers: PlayedPeers) -> None:
        super().__init__(shelf, node)
        self._peers, self.fetches = peers, Fetches(shelf, node, peers)
        self._listing, self._cached_copies = Listing(shelf), CachedCopies(shelf)
        self.serving: Serving | None = None

    def connect(self) -> None:
        """Have a transfer server, and links to those of other nodes."""
        self.serving = Serving(self._shelf, self._node, self._peers, self)
        self.fetches.links = Links(self._peers, self._node, self._shelf)

    def disconnect(self) -> None:
        if self.serving is not None:
            self.serving.close()
        if self.fetches.links is not None:
            self.fetches.links.close()

    def about(self) -> dict[str, Any]:
        return {} if self.serving is None else {"transfer": self.serving.about()}

    def listing(self) -> tuple[int, bytes]:
        return self._listing.all()

    def listing_part(self, after: str | None = None) -> tuple[int, bytes, str | None]:
        return self._listing.part(after)

    def fetch(self, packed: bytes, hint: str | None, kept: bool = False, epoch: int = 0) -> bytes | None:
        return self.fetches.fetch(packed, hint, kept=kept, epoch=epoch)

    def fetch_many(self, packed: bytes, node: str) -> None:
        self.fetches.fetch_many(packed, node)

    def send(self, array_id: str, begin: int, end: int | None, step: int, epoch: int) -> Iterator[Any]:
        if not self._shelf.has(array_id):
            self._shelf.finish(array_id, epoch)
        yield from send(self._shelf, array_id, begin, end, step)

    def send_many(self, array_ids: list[str], step: int) -> Iterator[Any]:
        yield from send_small(self._shelf, array_ids, step)

    def deadline_ns(self, array_id: str) -> int:
        return deadline_of(self._shelf, array_id)

    def deadlines_ns(self, array_ids: list[str]) -> list[int]:
        return list(map(self.deadline_ns, array_ids))

    def keep(self, array_ids: list[str]) -> list[bool]:
        kept = super().keep(array_ids)
        self._cached_copies.kept(array_ids)
        return kept

    def room(self) -> int:
        return self._cached_copies.room()


class PlayedPeers(RealTime):
    """The port. A call is made at once, or by whoever takes its place: see `instead`."""

    def __init__(self, cluster: PlayedCluster) -> None:
        self._cluster = cluster
        self._late, self._gone = set[str](), set[str]()
        self._remembered: dict[str, bytes] = {}
        self.ip: str | None = None  # of all nodes, if it is to be one that can be listened at
        self.instead: dict[str, Instead] = {}
        """By method, what is done instead, given the node, the call, and what makes it."""

    # --- keepers

    def ask(self, calls: Mapping[str, Call], patience: float = PATIENCE) -> dict[str, Any]:
        found = {}
        for node, call in sorted(calls.items()):
            try:
                found[node] = self._made(node, call)
            except OutliveError:
                continue
        return found

    def _made(self, node: str, call: Call, *, by_keeper: bool = False) -> Any:
        cluster = self._cluster
        if not cluster.lives(node):
            raise Nobody(node)
        here: Any = cluster.keepers[node]
        if cluster.hangs(node):
            self._late.add(node)
            if by_keeper or node in cluster.frozen or not hasattr(ShelfCalls, call.method):
                raise NoAnswer(node)
            here = InStead(cluster.shelves[node], node)
        if node in cluster.replaced:
            cluster.replaced.discard(node)
            self._gone.add(node)

        def make() -> Any:
            return getattr(here, call.method)(*call.args)

        instead = self.instead.get(call.method)
        return make() if instead is None else instead(node, call, make)

    def ask_keeper(self, node: str, call: Call, patience: float | None = PATIENCE) -> Any:
        return self._made(node, call, by_keeper=True)

    def stream(self, node: str, call: Call) -> Iterator[Any]:
        for part in self._made(node, call, by_keeper=True):
            yield part._replace(data=bytes(part.data)) if isinstance(part, Chunk | Parcel) else part

    def find_keeper(self, node: str, *, start: bool = False) -> None:
        if not self._cluster.lives(node):
            raise Nobody(node)

    def keeper_nodes(self) -> list[str]:
        return [node for node in self._cluster.seen if self._cluster.lives(node)]

    def is_late(self, node: str) -> bool:
        return node in self._late and self._cluster.hangs(node)

    def take_gone(self) -> set[str]:
        gone, self._gone = self._gone, set()
        return gone

    def search_shelves(self, node: str) -> None:
        pass

    def adopt_here(self) -> None:
        pass

    # --- others

    def ask_catalog(self, call: Call, patience: float | None = PATIENCE) -> Any:
        return getattr(self._cluster.catalog, call.method)(*call.args)

    def tell_catalog(self, call: Call) -> None:
        with contextlib.suppress(OutliveError):
            self.ask_catalog(call)

    def calls_through_ray(self) -> str | None:
        return None

    def watch(self) -> None:
        pass

    def nodes(self) -> list[Node]:
        lives, every = self._cluster.lives, self._cluster.all
        return [
            Node(node, self.ip or node, node, node == "a", lives(node), None, None, None, 0, None) for node in every
        ]

    def node(self, node: str) -> Node | None:
        return next((one for one in self.nodes() if one.id == node), None)

    def busy(self, node: str) -> list[str]:
        return []

    def autoscaler(self) -> Autoscaler | None:
        return None

    def jobs_that_ended(self, numbers: set[int]) -> set[int]:
        return set()

    def address(self) -> str:
        return "played"

    def leave(self) -> None:
        pass

    def load(self, key: str) -> bytes | None:
        return self._remembered.get(key)

    def save(self, key: str, value: bytes) -> None:
        self._remembered[key] = value

    def save_first(self, key: str, value: bytes) -> bytes:
        return self._remembered.setdefault(key, value)


class PlayedCatalog(Catalog):
    """The catalog itself. What nobody asks for happens when it is told to."""

    def go_on(self) -> None:
        pass

    @property
    def index(self) -> Index:
        return self.state.index

    def drop_replaced(self) -> None:
        for node in self.driver.step(replaced.sort_out):
            self.driver.run(replaced.drop_where_sealed, node, self.state.to_drop.pop(node))

    def doom(self, key: str, array_id: str) -> list[tuple[str, list[Holding]]]:
        """Begin to delete it: here the catalog may be killed."""
        return self.driver.run(deletion.doom, "s", [key], {array_id})

    def finish_deletions(self) -> None:
        self.driver.run(deletion.finish_deletions)
        self.driver.run(_until_finished)

    def multiply(self) -> None:
        self.driver.run(replicas.multiply_few)

    def mend(self) -> None:
        self.driver.run(shelves.mend)

    def save(self) -> None:
        self.driver.run(saving.save)


def _until_finished(state: State) -> Conversation[None]:
    yield Wait(lambda: not state.under_way.finishing)


class PlayedCluster:
    """Nodes `a` (the head), `b`, ..."""

    def __init__(self, root: str, count: int) -> None:
        self.all = self.seen = _NODES[:count]
        self.dead = set[str]()
        self.stopped = set[str]()  # nodes whose keepers are
        self.frozen = set[str]()  # nodes of which no process goes on
        self.replaced = set[str]()  # nodes whose keeper is gone for good, and another has its name
        self.peers = PlayedPeers(self)
        self.shelves = {node: Shelf(f"{root}/{node}", budget=64 << 20) for node in self.all}
        self.keepers = {node: self._keeper(node) for node in self.all}

    def _keeper(self, node: str) -> PlayedKeeper:
        return PlayedKeeper(self.shelves[node], node, self.peers)

    def connect(self) -> None:
        """Have a transfer server on each node, by loopback."""
        self.peers.ip = "127.0.0.1"
        for keeper in self.keepers.values():
            keeper.connect()

    def disconnect(self) -> None:
        for keeper in self.keepers.values():
            keeper.disconnect()

    def lives(self, node: str) -> bool:
        return node not in self.dead

    def hangs(self, node: str) -> bool:
        return node in self.stopped or node in self.frozen

    def replace_keeper(self, node: str) -> None:
        self.replaced.add(node)
        self.keepers[node] = self._keeper(node)

    def restart_catalog(self, seen: str = _NODES) -> PlayedCatalog:
        """A new one, which sees these nodes' keepers: others start later."""
        self.seen = "".join(node for node in self.all if node in seen)
        self.catalog = PlayedCatalog(self.peers, crews={"list": 1, "copy": 2, "start": 1, "finish": 1})
        self.seen = self.all
        return self.catalog

    def kill(self, node: str) -> None:
        """As the catalog sees it, once it has noticed."""
        self.dead.add(node)
        self.catalog.driver.run(asking.list_nodes)
        self.catalog.driver.run(losing.look_for_dead)

    def session(self, node: str) -> PlayedSession:
        return PlayedSession(self, node)

    def put(self, node: str, key: str, value: int, count: int = 5, replicas: int = 1) -> ArrayInfo:
        """As `Store.put`; returns its info."""
        draft = self.draft(node, key, value, count, replicas)
        commit(self.session(node), [draft])
        if replicas > 1:
            self.catalog.replicate(pack([draft.info]), node, self.shelves[node].ledger.epoch)
        info: ArrayInfo = draft.info
        return info

    def draft(self, node: str, key: str, value: int, count: int = 5, replicas: int = 1) -> Any:
        return Writer(self.shelves[node]).draft_of(
            np.full(count, value), key=key, store="s", options=PutOptions(replicas=replicas)
        )

    def get(self, node: str, key: str) -> int | None:
        array = reading.read(self.session(node), "s", key)
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
        self.shelf, self.node, self.peers = cluster.shelves[node], node, cluster.peers
        self.reader, self.writer = Reader(self.shelf), Writer(self.shelf)
        self._chunks = lambda: 1 << 20
        self.links = cluster.keepers[node].fetches.links
        if self.links is not None:
            self.own_copies = OwnCopies(self.shelf, node, self.peers, self.links)


def play(root: str, count: int) -> Iterator[PlayedCluster]:
    cluster = PlayedCluster(root, count)
    cluster.restart_catalog()
    yield cluster
    for shelf in cluster.shelves.values():
        shelf.remove()


def play_connected(root: str, count: int) -> Iterator[PlayedCluster]:
    """The same in a new folder, and the keepers send arrays by their transfer servers."""
    Path(root).mkdir(mode=0o700, parents=True)
    for cluster in play(root, count):
        cluster.connect()
        yield cluster
        cluster.disconnect()


def put(cluster: PlayedCluster, array: Any, node: str = "a", **options: Any) -> ArrayInfo:
    """Put an array without a key on a node."""
    return Writer(cluster.shelves[node]).put(array, store="s", options=PutOptions(**options))


def reader_on_b(cluster: PlayedCluster) -> PlayedSession:
    """A process that has read one array of node `a` already: from then on it copies small ones by itself."""
    session = cluster.session("b")
    session.shelf = Shelf(session.shelf.path)  # its drafts are in a folder of its own
    session.reader = Reader(session.shelf)
    assert session.links is not None
    session.own_copies = OwnCopies(session.shelf, "b", session.peers, session.links)
    reading.by_handle(session, put(cluster, np.zeros(1)), "a")
    return session
