"""Answering: the catalog's server of calls, for frequent calls. Every call can go through Ray as well."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from outlive.arrays.clock import uptime
from outlive.calls.server import Served, Server
from outlive.cluster.lines import CALLED, WHERE, address, turn_of
from outlive.cluster.links import SECRET
from outlive.cluster.port import PATIENCE, NoAnswer, Peers
from outlive.errors import BadSetting, StoreUnavailable
from outlive.transfer import settings
from outlive.transfer.door import Counts

_SECRET_SIZE = 32  # bytes
_CREWS = {"slow": 32, "change": 64}  # threads, at most, for the groups of methods; see `in_group`
_TURNS = "catalog-turns"  # the key under which the head remembers a turn that was taken, as a rule the last
_LEASE = 2_000_000_000  # nanoseconds for which an answer of the head counts
_RENEWED = 0.5  # seconds between two questions to the head
_log = logging.getLogger(__name__)


class Answering:
    """The server of the actor `catalog`. If none can be started, all calls go through Ray.

    Ray may take a catalog for dead that goes on, and start another. Calls through Ray then reach the new one. A process
    with a line would go on calling the former one. So a server answers only for a short time after the head has said
    that no other catalog has taken the next turn: its lease.

    Parameters
    ----------
    turn
        What `succeed` returned.
    replaced
        Called once another catalog has taken a later turn, and this one answers no more.
    """

    def __init__(self, catalog: Any, peers: Peers, turn: int, replaced: Callable[[], None] = lambda: None) -> None:
        self._peers, self._turn, self._replaced = peers, turn, replaced
        self._server: Server | None = None
        self._until = 0  # the end of the lease, by `uptime`
        self._closed = False
        try:
            self._server = self._start(catalog)
            told: list[str | int] = [self._server.host, self._server.port, self._server.name, turn]
        except BadSetting as error:
            told = [str(error), turn]
        except Exception as error:  # noqa: BLE001 - Ray gives up an actor whose constructor raises
            told = [str(error), turn]
            _log.warning("calls go through Ray: %s", error)
        self._told = json.dumps(told).encode()
        if self._server is None:
            with contextlib.suppress(Exception):  # it only says why there is no server
                peers.save(WHERE, self._told)
            return
        threading.Thread(target=self._renew, name="calls-lease", daemon=True).start()

    def may_answer(self) -> bool:
        """Whether the lease lasts."""
        return uptime() < self._until

    def serves(self, name: str) -> bool:
        """Whether the server of that name is this one."""
        return self._server is not None and self._server.name == name

    @property
    def counts(self) -> Counts:
        return Counts() if self._server is None else self._server.counts

    def close(self) -> None:
        """Answer no more. Harmless to repeat."""
        self._closed, self._until = True, 0
        if self._server is not None:
            self._server.close()

    def _renew(self) -> None:
        """Renew the lease until another catalog has the next turn. Until then, the address is this one's."""
        while not self._closed:
            try:
                # First, so that whoever takes the next turn then finds it. A former catalog may have said its own late.
                if (told := self._peers.load(WHERE)) != self._told:
                    if (turn_of(told) or 0) > self._turn:
                        break
                    self._peers.save(WHERE, self._told)
                asked = uptime()
                if self._peers.load(_turn(self._turn + 1)) is not None:
                    break
                if not self._closed:
                    self._until = asked + _LEASE
            except Exception as error:  # noqa: BLE001 - the head cannot be asked: the lease runs out
                _log.debug("calls go through Ray: %s", error)
            self._peers.sleep(_RENEWED)
        if not self._closed:
            self.close()
            self._replaced()

    def cut(self, line: bytes) -> None:
        """End a connection. When this returns, none of its calls is under way, and none can begin.

        Raises
        ------
        StoreUnavailable
            A call that has begun takes too long.
        """
        if self._server is not None and not self._server.cut(line, PATIENCE):
            raise StoreUnavailable("a call of a connection that broke is still under way; try again")

    def _start(self, catalog: Any) -> Server:
        ports = settings.call_ports()
        head = next((node for node in self._peers.nodes() if node.is_head and node.alive), None)
        if head is None:
            raise StoreUnavailable("Ray does not say what the head's address is")
        return Server(
            head.ip,
            ports,
            name=f"catalog-{os.urandom(8).hex()}",
            secret=self._peers.save_first(SECRET, os.urandom(_SECRET_SIZE)),
            calls=_served(catalog),
            crews=_CREWS,
            may_answer=self.may_answer,
            told=_told,
            tls=settings.tls(),
        )


def _served(catalog: Any) -> Mapping[str, Served]:
    methods = {method: getattr(catalog, method) for method in CALLED}
    return {
        name: Served(method, getattr(method, "group", None), getattr(catalog, f"{name}_at_once", None))
        for name, method in methods.items()
    }


def _told(error: Exception) -> str | None:
    """The text of an error that means the same wherever it is raised. Others are met again, through Ray."""
    return str(error) if type(error) is StoreUnavailable or isinstance(error, NoAnswer) else None


def succeed(peers: Peers) -> int:
    """Take the next turn, and wait until a former catalog answers no more; returns the turn.

    Nothing is waited for if the former one is dead, else the rest of its lease. The former one is that of the turn
    before. If the head knows the address of another, a catalog of an earlier turn may have said its own late: then the
    former one may be there, and nobody knows its address.

    While the head cannot be asked, this tries again: a former catalog may go on, and Ray gives up an actor whose
    constructor raises.
    """
    while True:
        try:
            turn = _take_turn(peers)
            former = peers.load(WHERE)
            if former is not None and (turn_of(former) != turn - 1 or not _is_gone(former)):
                peers.sleep(_LEASE / 1e9)
            return turn
        except Exception as error:  # noqa: BLE001 - whatever it is, the former catalog may go on
            _log.warning("whether another catalog answers cannot be asked: %s", error)
            peers.sleep(_RENEWED)


def _take_turn(peers: Peers) -> int:
    """The next turn, which no other catalog has or gets."""
    ours = os.urandom(8)
    last = peers.load(_TURNS) or b""
    turn = int(last) if last.isdigit() else 0
    while peers.save_first(_turn(turn), ours) != ours:
        turn += 1
    peers.save(_TURNS, b"%d" % turn)  # so that the next catalog looks from here on
    return turn


def _turn(number: int) -> str:
    """The key under which the head remembers who has a turn."""
    return f"{_TURNS}-{number}"


def _is_gone(former: bytes) -> bool:
    """Whether a former catalog's server does not listen any more. Otherwise it may answer until its lease is over."""
    where = address(former)
    if where is None:
        return True
    try:
        socket.create_connection((where[0], where[1]), 1.0).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    return False
