"""A session: the link of one process to the cluster that it is connected to, or to a local store.

Writing without a key and reading by handle need the shelf alone, which is a folder: no actor is asked. A session is
made once a process and cluster; `current()` finds it in well under a microsecond.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from outlive.arrays.live import raise_descriptor_limit
from outlive.arrays.lock import Mutex
from outlive.arrays.reader import Reader
from outlive.arrays.root import private_folder
from outlive.arrays.settings import Settings, apply
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.cluster.own_copies import OwnCopies
from outlive.cluster.port import Call, Left, Nobody, Peers
from outlive.cluster.tenure import PROTOCOL
from outlive.cluster.transfer import ChunkSize
from outlive.errors import MissingPackage, OutliveError, StoreUnavailable
from outlive.local.connection import LocalConnection, of_handle
from outlive.local.place import Place, clear_ended, is_local, root_of
from outlive.store import ray_in_use
from outlive.store.own_cluster import end_with_this_process

if TYPE_CHECKING:
    from outlive.cluster.links import Links
    from outlive.store.in_ray import RayConnection

_log = logging.getLogger(__name__)
_TO_START = 120.0  # seconds; a process takes 1-5 s to start, more on a loaded machine
_STARTS = 5  # of a keeper, before its death is an error
_LOCKING = frozenset({"end", "erase", "touch", "fetch"})
"""Calls of catalog and keeper for which this node's keeper, as a rule, locks the ledger."""


class Session:
    """This process on its node: the shelf, and the way to keeper and catalog."""

    links: Links | None = None
    """To the transfer servers of other nodes, where they are used."""
    own_copies: OwnCopies | None = None
    """Copies small arrays of other nodes in this process, by these links."""
    place: Place | None = None
    """Of a local store; None in a Ray cluster."""

    def __init__(self, connection: RayConnection | LocalConnection, settings: Settings) -> None:
        self.connection, self.node = connection, connection.node_id
        self.place = connection.place if isinstance(connection, LocalConnection) else None
        self.root, self.on_disk = connection.root, connection.on_disk
        self.peers: Peers = connection.peers
        if os.path.lexists(self.root):
            private_folder(self.root)  # the keeper would refuse it too, but later
        for attempt in range(_STARTS):
            try:
                if not connection.is_tended():
                    self._start_actors()
            except Left:  # the local store has ended since it was found: another is begun
                if attempt == _STARTS - 1 or not isinstance(connection, LocalConnection):
                    raise
                connection.peers.find()
                continue
            self.shelf = Shelf(connection.shelf, settings.memory)
            if connection.is_tended():
                break  # else the keeper left meanwhile and removed its shelf: try again
        self.reader, self.writer = Reader(self.shelf), Writer(self.shelf)
        self.apply(settings)
        if connection.started_cluster:
            end_with_this_process(self.root, connection.cluster, self.shelf.ledger)
        raise_descriptor_limit()
        self.links = connection.links(self.shelf)
        if self.links is not None:
            self.own_copies = OwnCopies(self.shelf, self.node, self.peers, self.links)
        _log.info("joined the stores of cluster %s by %s", connection.cluster, self.shelf.path)

    def apply(self, settings: Settings) -> None:
        """Change this node's shelf as asked. Raises as `settings.apply`."""
        apply(settings, self.shelf, self.root, self.connection.cluster, self.connection.shelf_name)

    def stands(self) -> bool:
        """Whether this process is still connected to the same cluster, and the store was not shut down."""
        return self.connection.stands() and not self.shelf.removed and not self.shelf.ledger.keeper_left

    def hang_up(self) -> None:
        """Close idle connections: nobody calls by this session any more."""
        self.connection.hang_up()
        if self.links is not None:
            self.links.close()

    def again(self) -> Session:
        """The session that takes the place of this one, which does not stand any more."""
        return at(self.place)

    def _start_keeper(self) -> None:
        """Start this node's keeper unless it runs, and wait until it answers."""
        for attempt in itertools.count(1):
            _log.debug("looks for the keeper of node %s, and starts it if there is none", self.node)
            self.peers.find_keeper(self.node, start=True)
            try:
                about: dict[str, Any] = self.peers.ask_keeper(self.node, Call.of("about"), _TO_START)
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
        self.connection.start_catalog()
        self.peers.ask_catalog(Call.of("ping"), _TO_START)
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
            for attempt in range(_STARTS):  # whoever is started may be killed in its turn
                try:
                    if attempt:
                        self._start_actors()
                    return self.peers.ask_catalog(call, None)
                except Left:
                    raise
                except Nobody as error:
                    _log.debug("no catalog answers: %s", error)
            self._start_actors()
            return self.peers.ask_catalog(call, None)
        except Left:  # the store was shut down
            forget(self)
            raise

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
                    session = session.again()
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

    _chunks: Callable[[], int] | None = None

    @property
    def chunk_size(self) -> int:
        """Bytes of an array that travel at a time."""
        if (
            self._chunks is None
        ):  # no `cached_property`: before Python 3.12 its lock would stay locked in a forked child
            self._chunks = ChunkSize(self.peers, self.node)
        return self._chunks()


_session: Session | None = None  # with the Ray cluster
_local: dict[str, Session] = {}  # with local stores, by their roots
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


def at(place: Place | None) -> Session:
    """The session with the local store at `place`; `current()` if that is None."""
    return current() if place is None else known(place) or join(place=place)


def of(node: str | None) -> Session:
    """The session by which the array of a handle is found: in the cluster, or in the local store that it names.

    Raises
    ------
    ArrayNotFound
        The local store has ended.
    StoreUnavailable
        It is on another machine; or Ray is not installed; or see `current`.
    """
    if not is_local(node):
        try:
            return current()
        except MissingPackage as error:
            raise StoreUnavailable(
                f"no shelf of this machine has the array, and this process is not connected to a Ray cluster: {error}"
            ) from error
    return known_of(node) or join(place=of_handle(node))


def known(place: Place | None = None) -> Session | None:
    """The session that this process has already, if it stands. Nothing is asked or started."""
    return _standing(_known(place))


def local() -> list[Callable[[], Session]]:
    """Each gives the session with one of the local stores that this process uses."""
    return [lambda one=one: one for one in list(_local.values()) if one.stands()]  # type: ignore[misc]


def all_known() -> list[Callable[[], Session]]:
    """Each gives a session that this process has: that with the Ray cluster first."""
    return [*([current] if _session is not None else []), *local()]


def known_of(node: str | None) -> Session | None:
    """`known` for the node that a handle names."""
    session = _local.get(root_of(node)) if is_local(node) else _session
    return session if session is not None and session.stands() else None


def join(settings: Settings = Settings(), place: Place | None = None) -> Session:  # noqa: B008 - it never changes
    """`current()`, with these settings for this node's shelf."""
    with _lock.now:
        if (usable := _usable(place)) is not None:
            usable.apply(settings)
            return usable
        before, made = _known(place), Session(_connected(place), settings)
        session = _usable(place) or made  # a signal handler may have made one meanwhile
        _remember(place, session)
        if before is not None:
            before.hang_up()
        return session


def _connected(place: Place | None) -> RayConnection | LocalConnection:
    if place is not None:
        return LocalConnection(place)
    if not ray_in_use.is_loaded():
        raise ray_in_use.not_connected()
    from outlive.store.in_ray import RayConnection

    return RayConnection()


def _known(place: Place | None) -> Session | None:
    return _session if place is None else _local.get(place.root)


def _standing(session: Session | None) -> Session | None:
    return session if session is not None and session.stands() else None


def _remember(place: Place | None, session: Session | None) -> None:
    global _session
    if place is None:
        _session = session
    elif session is None:
        _local.pop(place.root, None)
    else:
        _local[place.root] = session


def _usable(place: Place | None) -> Session | None:
    session = known(place)
    return session if session is not None and session.shelf.exists() else None


def forget(session: Session | None = None) -> None:
    """Make the next call of `current()` start anew: for the Ray cluster, or where this session is."""
    place = None if session is None else session.place
    with _lock.now:
        before = _known(place)
        _remember(place, None)
        if before is not None:
            before.hang_up()


@atexit.register
def _leave_a_keeper() -> None:
    """Start a keeper as this process ends, if that of a local store was killed: no other program may come to do so."""
    for session in list(_local.values()):
        connection = session.connection
        with contextlib.suppress(OutliveError, OSError):
            if isinstance(connection, LocalConnection) and session.stands() and session.shelf.ids():
                connection.start_keeper()


def close_local(place: Place) -> int:
    """End the local store at `place` and delete all its arrays; returns how many bytes that freed."""
    if not place.shelves():
        clear_ended(place)
        return 0
    session, freed = at(place), 0
    try:
        freed = session.ask_keeper("close")
    except Left:  # it has ended meanwhile, or its keeper was killed in the middle of that
        clear_ended(place)
    finally:
        forget(session)
    return freed


def close() -> int:
    """Stop mirrors, keepers and catalog and delete all arrays of the cluster; returns how many bytes that freed.

    Raises
    ------
    StoreUnavailable
        A keeper did not answer. All are stopped, but its arrays may be there still.
    """
    from ray.exceptions import GetTimeoutError

    from outlive.cluster import ray_port, starters

    freed, silent, peers = 0, [], ray_port.RayPeers()
    starters.stop_mirrors()  # or one of them would start keepers again
    nodes = peers.keeper_nodes()
    try:
        for node in nodes:
            try:
                freed += peers.ask_keeper(node, Call.of("close"), _TO_START)
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
