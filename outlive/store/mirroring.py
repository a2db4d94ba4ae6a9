"""Mirrors: an actor saves a store again and again, whatever becomes of the program that started it.

It is on the head, without which there is no cluster, so it keeps no node from the autoscaler. Ray starts it again if it
dies. It saves as `Store.save` does: what is there is not sent again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from outlive import actor_logs, progress
from outlive.errors import ArchiveUnavailable, StoreUnavailable
from outlive.store import ray_in_use
from outlive.store import session as sessions
from outlive.store.gateway import in_cluster
from outlive.store.saving import Saved, save

if TYPE_CHECKING:
    from outlive.archive.place import Place

_log = logging.getLogger(__name__)
_THREADS = 4  # calls at a time; none of them waits for a save
_PATIENCE = 60.0  # seconds for an answer of an actor that starts
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds between two questions whether a save has ended
_NAMED = "mirror-"  # how the names of mirrors begin


class MirrorStatus(NamedTuple):
    """The state of a mirror."""

    store: str
    url: str
    every: float
    """Seconds from one save to the next."""
    saved_at: float | None
    """When the last save that came to its end began, in seconds since 1970: the archive has all that was put before."""
    last: Saved | None
    """Its result."""
    failed: str | None
    """Why the last attempt failed, if it did. It is made again."""


class _NotRunning(StoreUnavailable):
    """There is no such mirror: it was stopped."""


class Order(NamedTuple):
    """The order that a mirror carries out."""

    store: str
    place: Place
    prefix: str
    every: float
    delete: bool


class Ticket(NamedTuple):
    """Names the save that a call waits for, and the actor's process that makes it."""

    process: str
    number: int


class Mirroring:
    """The actor. One thread saves, so that calls which wait for a save share it, and keep no other call waiting."""

    def __init__(self, order: Order) -> None:
        actor_logs.begin()
        self._order = order
        self._status = MirrorStatus(order.store, order.place.url, order.every, None, None, None)
        self._process = os.urandom(8).hex()
        self._changed = threading.Condition()
        self._wanted = self._begun = self._ended = 0  # the numbers of the last saves that were
        threading.Thread(target=self._go_on, daemon=True, name="mirror").start()

    def _go_on(self) -> None:
        due = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted > self._begun, max(0.0, due - time.monotonic()))
                self._begun += 1
            due = time.monotonic() + self._order.every
            self._save()
            with self._changed:
                self._ended = self._begun

    def saved(self, ticket: Ticket | None) -> Ticket | MirrorStatus:
        """How the save went that began after this was asked without a ticket; until it ends, the ticket to ask with."""
        with self._changed:
            if ticket is None or ticket.process != self._process:  # that died, and with it what it was asked for
                ticket = Ticket(self._process, self._begun + 1)
                self._wanted = ticket.number
                self._changed.notify()
            return self._status if self._ended >= ticket.number else ticket

    def _save(self) -> None:
        store, place, prefix, _, delete = self._order
        at = time.time()
        try:
            with progress.of("saving") as bar:
                saved = save(sessions.current(), store, place, prefix, None, bar, delete=delete)
        except Exception as error:  # noqa: BLE001 - a server that is away, a full disk: the next attempt may succeed
            _log.warning("the mirror %s of store %s failed, and goes on: %s", place, store, error)
            self._status = self._status._replace(failed=f"{type(error).__name__}: {error}")
        else:
            self._status = self._status._replace(saved_at=at, last=saved, failed=None)

    def status(self) -> MirrorStatus:
        return self._status

    def order(self) -> str:
        return repr_of(self._order)


def repr_of(order: Order) -> str:
    """Tells orders that differ, options of the storage included, without showing them."""
    about = (*order[:1], order.place.url, *order[2:], getattr(order.place, "_options", None))
    return hashlib.sha256(repr(about).encode()).hexdigest()


class Mirror:
    """A mirror that runs; made by `Store.mirror`. It goes on when this object, or the program, ends. Picklable.

    >>> mirror.status().failed is None
    True
    """

    def __init__(self, store: str, url: str) -> None:
        self.store, self.url = store, url

    def status(self) -> MirrorStatus:
        """Say what it has done. Raises StoreUnavailable if it was stopped."""
        status: MirrorStatus = _ask(self.store, self.url, "status", patience=_PATIENCE)
        return status

    def save(self) -> MirrorStatus:
        """Have it save now, and wait for that. Calls that come while it saves share the next save."""
        return _saved(self.store, self.url)

    def stop(self, *, save: bool = True) -> None:
        """End it; by default after it has saved once more. The archive stays. Does nothing if it was stopped.

        Raises
        ------
        ArchiveUnavailable
            It could not save once more. It goes on, and tries again.
        StoreUnavailable
            It could not be asked, as where this process is not connected to the cluster. It goes on.
        """
        failed = None
        with contextlib.suppress(_NotRunning):
            failed = self.save().failed if save else None
        if failed is not None:
            raise ArchiveUnavailable(
                f"the mirror of store {self.store!r} to {self.url} could not save once more, and goes on: {failed}. "
                "Call stop again, or stop(save=False) to leave the archive as it is"
            )
        _stop(_name(self.store, self.url))

    def __repr__(self) -> str:
        return f"Mirror({self.store!r}, {self.url!r})"


def _name(store: str, url: str) -> str:
    return _NAMED + hashlib.sha256(f"{store}\n{url}".encode()).hexdigest()[:32]


@in_cluster()
def start(order: Order) -> Mirror:
    """Start a mirror. One of the same store and place that has another order is ended first.

    Raises
    ------
    StoreUnavailable
        It does not start, or the one that runs does not answer.
    """
    sessions.current()
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    from outlive.cluster import starters

    name = _name(order.store, order.place.url)
    remote: Any = ray.remote(Mirroring)
    options = {**starters.LASTING, "resources": {starters.HEAD: 0.001}, "max_concurrency": _THREADS, "name": name}
    deadline = time.monotonic() + _PATIENCE
    while True:
        actor = remote.options(**options).remote(order)
        try:
            if ray.get(actor.order.remote(), timeout=_PATIENCE) == repr_of(order):
                return Mirror(order.store, order.place.url)
            _stop(name)
        except GetTimeoutError:
            raise StoreUnavailable(
                f"the mirror of store {order.store!r} to {order.place.url} did not answer in {_PATIENCE:g} s"
            ) from None
        except RayError as error:  # of the one that was just ended
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"the mirror of store {order.store!r} to {order.place.url} does not start: {error!s:.200}"
                ) from None
        time.sleep(0.05)


@in_cluster()
def _saved(store: str, url: str) -> MirrorStatus:
    sessions.current()
    found, pause = _ask(store, url, "saved", None), _FIRST_PAUSE
    while not isinstance(found, MirrorStatus):
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        found = _ask(store, url, "saved", found)
    return found


@in_cluster()
def _ask(store: str, url: str, method: str, *arguments: Any, patience: float | None = None) -> Any:
    sessions.current()
    import ray
    from ray.exceptions import ActorDiedError, GetTimeoutError, RayError

    from outlive.cluster import actors

    try:
        return ray.get(getattr(actors.find(_name(store, url)), method).remote(*arguments), timeout=patience)
    except GetTimeoutError:
        raise StoreUnavailable(f"the mirror of store {store!r} to {url} did not answer in {patience:g} s") from None
    except AttributeError:  # an earlier version of outlive has started it
        raise StoreUnavailable(
            f"the mirror of store {store!r} to {url} is of another version: stop(save=False), and start it again"
        ) from None
    except (ValueError, ActorDiedError) as error:
        raise _NotRunning(f"no mirror of store {store!r} to {url} runs: {error!s:.200}") from None
    except RayError as error:
        raise StoreUnavailable(f"the mirror of store {store!r} to {url} cannot be asked: {error!s:.200}") from None


@in_cluster()
def _stop(name: str) -> None:
    if not ray_in_use.is_connected():  # else Ray would start a cluster, to look for the mirror there
        raise ray_in_use.not_connected()
    from outlive.cluster import actors

    actors.end(name)


@in_cluster()
def running(store: str) -> list[Mirror]:
    """The mirrors of a store that run."""
    sessions.current()
    import ray
    from ray.exceptions import RayError

    from outlive.cluster import actors

    found = []
    for name in actors.mirrors():
        with contextlib.suppress(ValueError, RayError):
            status = ray.get(actors.find(name).status.remote(), timeout=_PATIENCE)
            found.append(Mirror(status.store, status.url))
    return sorted((one for one in found if one.store == store), key=lambda one: one.url)
