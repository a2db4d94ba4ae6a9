"""Links: which nodes' transfer servers this process reaches, and from which nodes arrays come through Ray, and why."""

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

SECRET = "transfer-secret"  # noqa: S105 - what the head remembers it under
_PATIENCE = 3.0  # seconds for a keeper to say where its server is
_SOON, _LATER, _SELDOM = 1.0, 60.0, 600.0  # seconds until a way is tried again; see `_until_again`
_WORKS = 60.0  # seconds after which a way that fails is not thought to fail each time
_FORGOTTEN = 3600.0  # seconds until nothing is said any more of a way that was not to be had
_log = logging.getLogger(__name__)


class _Way(NamedTuple):
    """To one node."""

    link: Link | None
    why: str = ""  # there is none
    until: float = 0.0  # when it is looked again for one
    since: float = 0.0  # when it was found
    last: float = 0.0  # seconds for which there was none, before it was found


class Links:
    """From node `here`. Any thread may ask.

    Raises
    ------
    BadSetting
        The settings of TLS are wrong.
    """

    def __init__(self, peers: Peers, here: str) -> None:
        self._peers, self._here, self._tls = peers, here, settings.tls()
        self._ways: dict[str, _Way] = {}
        self._looked = peers.now()  # for connections that nobody uses
        self._mutex = Mutex()

    def to(self, node: str) -> Link | None:
        """The link to a node's server; None if arrays come from there through Ray for now."""
        self._close_old()
        way = self._ways.get(node)
        if way is None or (way.link is None and self._peers.now() >= way.until):
            way = self._find(node)._replace(last=0.0 if way is None else way.last)
            with self._mutex.now:
                self._ways[node] = way
                self._forget_old()
        return way.link

    def lost(self, node: str, link: Link, error: Lost) -> None:
        """It failed: arrays come through Ray until it is tried again."""
        now, again = self._peers.now(), _SOON
        with self._mutex.now:
            way = self._ways.get(node)
            if way is not None and way.link is link:
                again = _until_again(way, error, now)
                self._ways[node] = _Way(None, str(error), now + again, last=again)
        link.close()
        _log.debug("arrays of node %s come through Ray for %.0f s: %s", node, again, error)

    def _forget_old(self) -> None:
        """Nodes from which nothing was wanted for long are gone, as a rule."""
        long_ago = self._peers.now() - _FORGOTTEN
        for node in [node for node, way in self._ways.items() if way.link is None and way.until < long_ago]:
            del self._ways[node]

    def _close_old(self) -> None:
        """End connections that are too old to be used again: their nodes may be gone for good."""
        now = self._peers.now()
        if now < self._looked + KEPT_FOR:
            return
        self._looked = now
        for way in list(self._ways.values()):
            if way.link is not None:
                way.link.close_old()

    def close(self) -> None:
        """End what is idle; harmless to repeat, and to go on."""
        for way in list(self._ways.values()):
            if way.link is not None:
                way.link.close()

    def through_ray(self) -> tuple[tuple[str, str], ...]:
        """The nodes from which arrays come through Ray, and why."""
        with self._mutex.now:
            return tuple(sorted((node, way.why) for node, way in self._ways.items() if way.link is None))

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
    """Soon if it has worked before, or has too many to serve: its keeper starts again, as a rule.

    Twice as late each time, if it never worked for long: bytes may be lost on the way although a proof is not. Seldom
    where each try is a long wait.
    """
    assert way.link is not None
    longest = _SELDOM if isinstance(error, Silent) else _LATER
    if isinstance(error, Refused) or not (way.link.worked or isinstance(error, Full)):
        return longest
    worked_for_long = way.link.worked and now >= way.since + _WORKS
    return _SOON if worked_for_long else min(longest, max(_SOON, 2 * way.last))


def links(peers: Peers, here: str) -> Links | None:
    """None if everything goes through Ray."""
    try:
        return None if settings.is_off() else Links(peers, here)
    except BadSetting as error:
        _log.error("arrays of other nodes come through Ray: %s", error)
        return None
