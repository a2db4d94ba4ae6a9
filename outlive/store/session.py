"""A session: the link of one process to the cluster that it is connected to.

Writing without a key and reading by handle need the shelf alone, which is a folder: no actor is asked. A session is
made once a process and cluster; `current()` finds it in well under a microsecond.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

from ray.exceptions import GetTimeoutError

from outlive.arrays.layout import KEEPER
from outlive.arrays.live import raise_descriptor_limit
from outlive.arrays.lock import Mutex
from outlive.arrays.reader import Reader
from outlive.arrays.root import default_root, private_folder, shelf_folder
from outlive.arrays.settings import Settings, apply
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.cluster import starters
from outlive.cluster.links import Links, links
from outlive.cluster.port import Call, Left, Nobody, Peers
from outlive.cluster.ray_port import RayPeers
from outlive.cluster.tenure import PROTOCOL
from outlive.cluster.transfer import ChunkSize
from outlive.errors import StoreUnavailable
from outlive.ray_internals import Connection
from outlive.store.own_cluster import end_with_this_process

_log = logging.getLogger(__name__)
_STARTS = 5  # of a keeper, before its death is an error
_LOCKING = frozenset({"end", "erase", "touch", "fetch"})
"""Calls of catalog and keeper for which this node's keeper, as a rule, locks the ledger."""


class Session:
    """This process on its node: the shelf, and the way to keeper and catalog."""

    links: Links | None = None
    """To the transfer servers of other nodes, where they are used."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.connection, self.node = connection, connection.node_id
        self.root, self.on_disk = default_root()
        self.peers: Peers = RayPeers()
        if os.path.lexists(self.root):
            private_folder(self.root)  # the keeper would refuse it too, but later
        path = f"{self.root}/{connection.cluster}/{self.node}"
        for _ in range(_STARTS):
            if not _tended(path):
                self._start_actors()
            self.shelf = Shelf(shelf_folder(self.root, connection.cluster, self.node), settings.memory)
            if _tended(path):
                break  # else the keeper left meanwhile and removed its shelf: try again
        self.reader, self.writer = Reader(self.shelf), Writer(self.shelf)
        self.apply(settings)
        if connection.started_cluster:
            end_with_this_process(self.root, connection.cluster, self.shelf.ledger)
        raise_descriptor_limit()
        self.links = links(self.peers, self.node)
        _log.info("joined the stores of cluster %s by %s", connection.cluster, self.shelf.path)

    def apply(self, settings: Settings) -> None:
        """Change this node's shelf as asked. Raises as `settings.apply`."""
        apply(settings, self.shelf, self.root, self.connection.cluster, self.node)

    def stands(self) -> bool:
        """Whether this process is still connected to the same cluster, and the store was not shut down."""
        return self.connection.stands() and not self.shelf.removed and not self.shelf.ledger.keeper_left

    def hang_up(self) -> None:
        """Close idle connections: nobody calls by this session any more."""
        if isinstance(self.peers, RayPeers):
            self.peers.hang_up()
        if self.links is not None:
            self.links.close()

    def _start_keeper(self) -> None:
        """Start this node's keeper unless it runs, and wait until it answers."""
        for attempt in itertools.count(1):
            _log.debug("looks for the keeper of node %s, and starts it if there is none", self.node)
            self.peers.find_keeper(self.node, start=True)
            try:
                about: dict[str, Any] = self.peers.ask_keeper(self.node, Call.of("about"), starters.START_SECONDS)
                break
            except Nobody:  # it was about to leave the node
                if attempt >= _STARTS:
                    raise
        if about["protocol"] != PROTOCOL:
            raise StoreUnavailable(
                f"this cluster's keeper speaks protocol {about['protocol']}, this version of outlive {PROTOCOL}: "
                "use the same version everywhere, or run `outlive shutdown` first (it frees all arrays)"
            )
        if about["root"] != self.root:
            raise StoreUnavailable(
                f"this process keeps arrays in {self.root}, but Ray's workers on this node in {about['root']}: "
                "set the same OUTLIVE_ROOT here and where Ray is started"
            )

    def _start_actors(self) -> None:
        """Start this node's keeper and the cluster's catalog unless they run, and wait until they answer."""
        self._start_keeper()
        starters.start_catalog(self.peers)
        self.peers.ask_catalog(Call.of("ping"), starters.START_SECONDS)
        if self.on_disk:
            _log.warning("outlive keeps arrays in a folder on disk, %s: %s", self.root, self.on_disk)

    def ask_catalog(self, method: str, *args: Any) -> Any:
        """The catalog's answer. The catalog is started if there is none.

        There is no deadline for the work, as long as the catalog answers other calls meanwhile.

        Raises
        ------
        OutliveError
            What the catalog raised.
        StoreUnavailable
            It is gone for good, does not answer, or met an error that is not outlive's own. Or this thread has the
            ledger's lock, and the call needs it.
        """
        self._say_if_locked(method)
        call = Call(method, args)
        _log.debug("asks the catalog: %s", method)
        try:
            return self.peers.ask_catalog(call, None)
        except Left:  # the store was shut down
            forget()
            raise
        except Nobody:
            self._start_actors()
        return self.peers.ask_catalog(call, None)

    def tell_catalog(self, method: str, *args: Any) -> None:
        """Have the catalog do something. Waits for no answer: the call may be lost."""
        with contextlib.suppress(Nobody):
            self.peers.tell_catalog(Call(method, args))

    def ask_node(self, node: str, method: str, *args: Any, patience: float | None = None) -> Any:
        """The answer of a node's keeper within `patience` (seconds); None: as `ask_catalog`.

        Raises
        ------
        OutliveError
            The error that the keeper raised.
        Nobody
            The node has no keeper (any more).
        StoreUnavailable
            It says which node it is.
        """
        _log.debug("asks the keeper of node %s: %s", node, method)
        try:
            return self.peers.ask_keeper(node, Call(method, args), patience)
        except StoreUnavailable as error:
            raise type(error)(f"node {node}: {error}") from error.__cause__

    def ask_each(self, method: str, *, patience: float | None = None) -> Iterator[tuple[str, Any]]:
        """The answers of all keepers, one node after the other, as `ask_node`. Keepers that have left are skipped."""
        for node in self.peers.keeper_nodes():
            try:
                answer = self.ask_node(node, method, patience=patience)
            except Nobody:
                continue
            yield node, answer

    def ask_keeper(self, method: str, *args: Any) -> Any:
        """The answer of this node's keeper. If it is gone for good, another is started and asked.

        A keeper that leaves the node while it is asked counts as gone too: its leaving causes any error that it raises.
        """
        self._say_if_locked(method)
        session = self
        _log.debug("asks this node's keeper: %s", method)
        for attempt in itertools.count(1):
            try:
                return session.peers.ask_keeper(session.node, Call(method, args), None)
            except StoreUnavailable as error:
                if attempt >= _STARTS:
                    raise
                if not session.stands():  # it removed the shelf: another keeper makes a new one
                    session = current()
                elif isinstance(error, Nobody):
                    session._start_keeper()  # noqa: SLF001 - this class
                else:
                    raise
        raise AssertionError

    def _say_if_locked(self, method: str) -> None:
        """Raises StoreUnavailable if a call would wait for this node's keeper, and that for this thread's lock."""
        if method in _LOCKING and self.shelf.ledger.mine:
            raise StoreUnavailable(
                "a signal handler has interrupted a call of outlive that has the lock of this node's shelf, and what "
                "it wants needs the keeper, which waits for that lock. Do it once the handler has returned"
            )

    @functools.cached_property
    def _chunks(self) -> Callable[[], int]:
        return ChunkSize(self.peers, self.node)

    @property
    def chunk_size(self) -> int:
        """Bytes of an array that travel at a time."""
        return self._chunks()


_session: Session | None = None
_lock = Mutex()


def current() -> Session:
    """The session with the cluster that this process is connected to.

    Raises
    ------
    StoreUnavailable
        It is connected to none, or keeper and catalog cannot be started.
    """
    if _session is not None and _session.stands():
        return _session
    return join()


def known() -> Session | None:
    """The session that this process has already, if it stands. Nothing is asked or started."""
    return _session if _session is not None and _session.stands() else None


def join(settings: Settings = Settings()) -> Session:  # noqa: B008 - it never changes
    """`current()`, with these settings for this node's shelf."""
    global _session
    with _lock.now:
        if (usable := _usable()) is not None:
            usable.apply(settings)
            return usable
        before, made = _session, Session(Connection(), settings)
        _session = _usable() or made  # a signal handler may have made one meanwhile
        if before is not None:
            before.hang_up()
        return _session


def _usable() -> Session | None:
    return None if _session is None or not _session.stands() or not _session.shelf.exists() else _session


def forget() -> None:
    """Make the next call of `current()` start anew."""
    global _session
    with _lock.now:
        before, _session = _session, None
        if before is not None:
            before.hang_up()


def close() -> int:
    """Stop mirrors, keepers and catalog and delete all arrays of the cluster; returns how many bytes that freed.

    Raises
    ------
    StoreUnavailable
        A keeper did not answer. All are stopped, but its arrays may be there still.
    """
    freed, silent, peers = 0, [], RayPeers()
    starters.stop_mirrors()  # or one of them would start keepers again
    nodes = peers.keeper_nodes()
    try:
        for node in nodes:
            try:
                freed += peers.ask_keeper(node, Call.of("close"), starters.START_SECONDS)
            except StoreUnavailable as error:  # its node is gone, or another process stopped it first
                _log.debug("keeper of %s: %s", node, error)
                if isinstance(error.__cause__, GetTimeoutError):
                    silent.append(node)
    finally:  # an interrupt must not leave some of them alive without shelves
        starters.stop(nodes)
        forget()
    _log.info("shut down the stores of the cluster: %d bytes are free", freed)
    if silent:
        raise StoreUnavailable(
            f"stopped, but keepers did not confirm deletion on nodes {', '.join(silent)}; check their shelves: "
            "arrays may be left there"
        )
    return freed


def _tended(shelf: str) -> bool:
    """Whether a keeper that this version of outlive can talk to has been started for this shelf."""
    try:
        with open(f"{shelf}/{KEEPER}") as file:
            return file.read() == f"{PROTOCOL}\n"
    except FileNotFoundError:
        return False
