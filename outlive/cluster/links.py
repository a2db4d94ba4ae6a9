"""Links: connections of this process to the transfer servers of other nodes; and why there is none to some nodes.

If a link fails, all processes of this node leave that server for a while: see `failures`. Then one of them tries again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays.clock import uptime
from outlive.arrays.layout import WAYS
from outlive.arrays.lock import Mutex
from outlive.arrays.tally import FELL_BACK
from outlive.cluster.checksum import checksum
from outlive.cluster.failures import Failure, Failures
from outlive.cluster.port import Call, Peers
from outlive.errors import BadSetting, StoreUnavailable
from outlive.transfer import settings
from outlive.transfer.channel import Lacking, Lost, Silent
from outlive.transfer.client import KEPT_FOR, Link, Unserved
from outlive.transfer.proof import Full, Refused

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf

SECRET = "transfer-secret"  # noqa: S105 - the key under which the head remembers the secret
_PATIENCE = 3.0  # seconds for a keeper to say where its server is
_SOON, _LATER, _SELDOM = 1.0, 60.0, 600.0  # seconds until a link is tried again; see `_until_again`
_WORKS = 60.0  # seconds: a link that fails later than this has worked for long
_TRY = 15.0  # seconds that a try may take, during which no other process tries
_FORGOTTEN = 600.0  # seconds, after its pause, until a failure is forgotten that nobody found again
_log = logging.getLogger(__name__)


class _Way(NamedTuple):
    """The way to one node: a link, or the reason why there is none."""

    link: Link | None
    why: str = ""
    until: float = 0.0  # the moment from which on a link is tried again
    since: float = 0.0  # the moment at which the link was found
    last: float = 0.0  # the seconds without a link before that
    server: str = ""  # see `Failure`
    noted: Failure | None = None  # what others found, if there is no link for that; or that this process tries now


class Links:
    """The links from node `here`. Any thread may use them.

    Parameters
    ----------
    shelf
        This node's, where its processes tell each other of links that failed. None: this process goes by what it finds
        itself.

    Raises
    ------
    BadSetting
        The settings of TLS are wrong.
    """

    def __init__(self, peers: Peers, here: str, shelf: Shelf | None = None) -> None:
        self._peers, self._here, self._tls = peers, here, settings.tls()
        self._failures = None if shelf is None else Failures(f"{shelf.path}/{WAYS}")
        self._tally = None if shelf is None else shelf.tally
        self._ways: dict[str, _Way] = {}
        self._failed = set[str]()  # the nodes that are said to have failed, as this process knows
        self._looked = peers.now()  # when unused connections were closed last
        self._mutex = Mutex()

    def to(self, node: str) -> Link | None:
        """The link to a node's server; None if its arrays come through Ray for now."""
        self._close_old()
        way = self._ways.get(node)
        if way is None or self._is_over(node, way):
            found = self._find(node)
            found = found._replace(last=max(found.last, 0.0 if way is None else way.last))
            with self._mutex.now:
                if self._ways.get(node) is way:  # else another thread has found one, or lost it
                    self._ways[node] = found
                way = self._ways[node]
                self._forget_old()
        return way.link

    def _is_over(self, node: str, way: _Way) -> bool:
        """Whether a way is to be found anew."""
        if way.link is None and self._peers.now() >= way.until:
            return True
        if self._failures is None or (way.link is None and way.noted is None):
            return False
        failure = self._noted(node)
        if failure == way.noted:
            return False
        # A link that has worked here since another process began its try counts more than that try.
        return way.link is None or (
            failure is not None and failure.server == way.server and way.link.worked_at < failure.began
        )

    def lost(self, node: str, link: Link, error: Lost) -> None:
        """Note that a link failed: the node's arrays come through Ray until it is tried again.

        An array that its server cannot read comes through Ray alone: that says nothing of others, or of the link.
        """
        if isinstance(error, Unserved):
            return
        now, again = self._peers.now(), _SOON
        failed: _Way | None = None
        with self._mutex.now:
            way = self._ways.get(node)
            if way is not None and way.link is link:
                failed, again = way, _until_again(way, error, now)
                self._ways[node] = _Way(None, str(error), now + again, last=again)
        if failed is not None and self._failures is not None and not isinstance(error, Lacking | Full):
            until = uptime() + int(again * 1e9)
            self._failures.note(node, Failure(link.began_at, until, again, failed.server, str(error)))
        link.close()
        _log.debug("arrays of node %s come through Ray for %.0f s: %s", node, again, error)

    def fell_back(self, count: int) -> None:
        """Note that so many arrays have come through Ray instead."""
        if self._tally is not None:
            self._tally.add(FELL_BACK, count)

    def _forget_old(self) -> None:
        """Forget nodes without a link from which nothing was wanted for long: they are gone, as a rule."""
        long_ago = self._peers.now() - _FORGOTTEN
        for node in [node for node, way in list(self._ways.items()) if way.link is None and way.until < long_ago]:
            self._ways.pop(node, None)  # a signal handler may have come first

    def _close_old(self) -> None:
        """Close connections that are too old to be used again: their nodes may be gone for good."""
        now = self._peers.now()
        if now < self._looked + KEPT_FOR:
            return
        self._looked = now
        for way in list(self._ways.values()):
            if way.link is not None:
                way.link.close_old()

    def close(self) -> None:
        """Close idle connections. This may be repeated, and the links may be used afterwards."""
        for way in list(self._ways.values()):
            if way.link is not None:
                way.link.close()

    def through_ray(self) -> tuple[tuple[str, str], ...]:
        """The nodes from which arrays come through Ray to some process here, and why."""
        with self._mutex.now:
            self._forget_old()
            own = {node: way.why for node, way in list(self._ways.items()) if way.link is None and way.noted is None}
        noted = {} if self._failures is None else self._failures.all()
        return tuple(sorted({**{node: failure.why for node, failure in noted.items()}, **own}.items()))

    def _find(self, node: str) -> _Way:
        later = self._peers.now() + _LATER
        try:
            about = self._peers.ask_keeper(node, Call.of("about"), _PATIENCE)
            told, secret = about.get("transfer"), self._peers.load(SECRET)
        except StoreUnavailable as error:
            return _Way(None, f"its keeper does not answer: {error}", self._peers.now() + _SOON)
        if not isinstance(told, list) or secret is None:
            return _Way(None, told if isinstance(told, str) else "its version of outlive has no transfer server", later)
        host, port = told
        server = f"{host}:{port} {about.get('pid')}"
        noted = self._failure_of(node, server)
        if noted is not None and noted.stands():
            left = (noted.until - uptime()) / 1e9
            return _Way(None, noted.why, self._peers.now() + left, noted=noted)
        if noted is not None and self._failures is not None:
            noted = noted._replace(until=uptime() + int(_TRY * 1e9))
            self._failures.note(node, noted)  # so that no other process tries meanwhile
        link = Link(
            (host, port),
            here=self._here,
            there=node,
            secret=secret,
            checksum=checksum,
            tls=self._tls,
            on_work=lambda: self._works(node),
        )
        last = 0.0 if noted is None else noted.pause
        return _Way(link, since=self._peers.now(), last=last, server=server, noted=noted)

    def _failure_of(self, node: str, server: str) -> Failure | None:
        failure = self._noted(node)
        return failure if failure is not None and failure.server == server else None

    def _noted(self, node: str) -> Failure | None:
        """The failure that is noted of a node's server, if any."""
        failure = None if self._failures is None else self._failures.of(node)
        if failure is not None:
            self._failed.add(node)
        return failure

    def _works(self, node: str) -> None:
        """Note that a link to this node works."""
        if self._failures is not None and node in self._failed:
            self._failed.discard(node)
            self._failures.forget(node)


def _until_again(way: _Way, error: Lost, now: float) -> float:
    """Seconds until a link is tried again: few if it has worked for long, as its keeper may just be starting again.

    If it has only worked briefly, or the server is full, each pause is twice as long as the one before: the network may
    carry a proof and lose the bytes. A refused proof, or a link that never worked, has the longest pause at once. That
    is longer for a silent server, as each try is a long wait.
    """
    assert way.link is not None
    longest = _SELDOM if isinstance(error, Silent) else _LATER
    if isinstance(error, Refused) or not (way.link.worked or isinstance(error, Full)):
        return longest
    worked_for_long = way.link.worked and now >= way.since + _WORKS
    return _SOON if worked_for_long else min(longest, max(_SOON, 2 * way.last))


def links(peers: Peers, here: str, shelf: Shelf | None = None) -> Links | None:
    """The links from node `here`; None if everything goes through Ray."""
    try:
        return None if settings.is_off() else Links(peers, here, shelf)
    except BadSetting as error:
        _log.error("arrays of other nodes come through Ray: %s", error)
        return None
