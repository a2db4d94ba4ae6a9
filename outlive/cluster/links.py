"""Links: connections of this process to the transfer servers of other nodes; and why there is none to some nodes."""

from __future__ import annotations

import logging
from typing import NamedTuple

from outlive.arrays.lock import Mutex
from outlive.cluster.checksum import checksum
from outlive.cluster.port import Call, Peers
from outlive.errors import BadSetting, StoreUnavailable
from outlive.transfer import settings
from outlive.transfer.channel import Lost, Silent
from outlive.transfer.client import KEPT_FOR, Link
from outlive.transfer.proof import Full, Refused

SECRET = "transfer-secret"  # noqa: S105 - the key under which the head remembers the secret
_PATIENCE = 3.0  # seconds for a keeper to say where its server is
_SOON, _LATER, _SELDOM = 1.0, 60.0, 600.0  # seconds until a link is tried again; see `_until_again`
_WORKS = 60.0  # seconds: a link that fails later than this has worked for long
_FORGOTTEN = 3600.0  # seconds until a failure is forgotten that nobody asked about again
_log = logging.getLogger(__name__)


class _Way(NamedTuple):
    """The way to one node: a link, or the reason why there is none."""

    link: Link | None
    why: str = ""
    until: float = 0.0  # the moment from which on a link is tried again
    since: float = 0.0  # the moment at which the link was found
    last: float = 0.0  # the seconds without a link before that


class Links:
    """The links from node `here`. Any thread may use them.

    Raises
    ------
    BadSetting
        The settings of TLS are wrong.
    """

    def __init__(self, peers: Peers, here: str) -> None:
        self._peers, self._here, self._tls = peers, here, settings.tls()
        self._ways: dict[str, _Way] = {}
        self.fallbacks = 0
        """How many arrays were asked for through Ray, as there was no link or it failed, since this began."""
        self._looked = peers.now()  # when unused connections were closed last
        self._mutex = Mutex()

    def to(self, node: str) -> Link | None:
        """The link to a node's server; None if its arrays come through Ray for now."""
        self._close_old()
        way = self._ways.get(node)
        if way is None or (way.link is None and self._peers.now() >= way.until):
            way = self._find(node)._replace(last=0.0 if way is None else way.last)
            with self._mutex.now:
                self._ways[node] = way
                self._forget_old()
        return way.link

    def lost(self, node: str, link: Link, error: Lost) -> None:
        """Note that a link failed: the node's arrays come through Ray until it is tried again."""
        now, again = self._peers.now(), _SOON
        with self._mutex.now:
            way = self._ways.get(node)
            if way is not None and way.link is link:
                again = _until_again(way, error, now)
                self._ways[node] = _Way(None, str(error), now + again, last=again)
        link.close()
        _log.debug("arrays of node %s come through Ray for %.0f s: %s", node, again, error)

    def fell_back(self, count: int) -> None:
        """Note that so many arrays are asked for through Ray instead."""
        with self._mutex.now:
            self.fallbacks += count

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
        """The nodes from which arrays come through Ray, and why."""
        with self._mutex.now:
            return tuple(sorted((node, way.why) for node, way in list(self._ways.items()) if way.link is None))

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
        link = Link((host, port), here=self._here, there=node, secret=secret, checksum=checksum, tls=self._tls)
        return _Way(link, since=self._peers.now())


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


def links(peers: Peers, here: str) -> Links | None:
    """The links from node `here`; None if everything goes through Ray."""
    try:
        return None if settings.is_off() else Links(peers, here)
    except BadSetting as error:
        _log.error("arrays of other nodes come through Ray: %s", error)
        return None
