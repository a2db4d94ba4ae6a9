"""Short calls: frequent calls of keepers, by a connection to the keeper's transfer server.

The catalog has keepers seal, drop and forbid. A reader has its node's keeper copy a small array of another node. All
may be made twice, or after their caller has given up. A call that fails goes through Ray.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgpack  # type: ignore[import-untyped]

from outlive.catalog.wire import unpack
from outlive.cluster.links import Links, links
from outlive.cluster.port import AT_A_TIME, Call, Peers
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.errors import BadSetting
from outlive.transfer import settings, wire
from outlive.transfer.channel import Lost
from outlive.transfer.client import NotServed

_METHODS = frozenset({"finish", "drop", "forbid"})
_FETCH = "fetch"
_SMALL = 16 << 20  # bytes: a larger array takes so long that a call through Ray adds little
_GRACE = 3.0  # seconds for an answer
_MOST = 16  # keepers that are asked at a time; more are asked through Ray, where a call takes no thread
_ID = re.compile(r"[0-9a-f]{32}")
_log = logging.getLogger(__name__)


class ShortCalls:
    """The short calls of this process. Any thread may make some."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._crew = ThreadPoolExecutor(_MOST, "short-calls")  # it has no threads until it is used
        self._found: tuple[Links | None] | None = None
        self._has_fetched = False  # a process that fetches only once is faster through Ray

    @property
    def _links(self) -> Links | None:
        """The connections to keepers; None if all is to go through Ray."""
        if self._found is None:  # no `cached_property`: before Python 3.12 its lock would stay locked in a forked child
            self._found = (_links(self._peers),)
        return self._found[0]

    def make_those_made_often(self, calls: Mapping[str, Call]) -> dict[str, Any]:
        """Make those of these calls by which keepers are asked often; the answers by node, of those that answered."""
        return self.make({node: call for node, call in calls.items() if _is_made_often(call)})

    def fetch(self, node: str, call: Call) -> dict[str, Any]:
        """Have a keeper copy a small array, from the second one of this process on; the answer, if one came."""
        if not is_small_fetch(call):
            return {}
        has_fetched, self._has_fetched = self._has_fetched, True
        return self.make({node: call}) if has_fetched else {}

    def make(self, calls: Mapping[str, Call]) -> dict[str, Any]:
        """Make calls, at the same time; the answers by node, of those that answered. Late nodes are not asked."""
        asked = [(node, call) for node, call in calls.items() if not self._peers.is_late(node)]
        if not 0 < len(asked) <= _MOST or self._links is None:
            return {}
        try:
            others = [self._crew.submit(self._make, *one) for one in asked[1:]]
        except RuntimeError:  # the system has no more threads
            return {}
        answers = [self._make(*asked[0]), *(other.result() for other in others)]
        return {node: answer for (node, _), (done, answer) in zip(asked, answers, strict=True) if done}

    def close(self) -> None:
        """Close idle connections. They are opened again if they are needed."""
        if self._found is not None and self._found[0] is not None:
            self._found[0].close()

    def _make(self, node: str, call: Call) -> tuple[bool, Any]:
        """Whether a call was answered, and the answer."""
        assert self._links is not None
        try:
            question: bytes = msgpack.packb([call.method, call.args], unicode_errors="surrogatepass")
            link = self._links.to(node) if len(question) <= wire.LONGEST_QUESTION else None
            if link is None:
                return False, None
            try:
                return True, msgpack.unpackb(link.ask(question, _GRACE))
            except Lost as error:
                self._links.lost(node, link, error)
        except NotServed:
            pass
        except Exception as error:  # noqa: BLE001 - the head is silent, or others; the call goes through Ray
            _log.debug("%s of %s goes through Ray: %s", call.method, node, error)
        return False, None


def _is_made_often(call: Call) -> bool:
    """Whether this is such a call. One with a long list goes through Ray, in slices."""
    return call.method in _METHODS and len(call.args[0]) <= AT_A_TIME


def is_small_fetch(call: Call) -> bool:
    """Whether this has a keeper copy a small array for a reader."""
    return call.method == _FETCH and unpack(call.args[0])[0].size <= _SMALL


def answer(keeper: ShelfCalls, question: bytes) -> bytes:
    """Make the call that a question asks for; its answer. Raises whatever the call raises."""
    method, args = msgpack.unpackb(question, use_list=False, unicode_errors="surrogatepass")
    for one in _ids(method, args[0]):
        if not _ID.fullmatch(one):  # it becomes part of a path
            raise ValueError(f"{one!r} is no array")
    answer: bytes = msgpack.packb(getattr(keeper, method)(*args))
    return answer


def _ids(method: str, first: Any) -> list[str]:
    """The arrays that a short call names in its first argument. Raises ValueError if it is no short call."""
    if method == "finish":
        return list(first)
    if method == "drop":
        return [array_id for array_id, _ in first]
    if method == "forbid":
        return []
    if method == _FETCH:
        return [info.id for info in unpack(first)]
    raise ValueError(f"{method!r} is no short call")


def _links(peers: Peers) -> Links | None:
    try:
        return links(peers, "") if settings.calls_are_off() is None else None
    except BadSetting as error:
        _log.error("keepers are asked through Ray: %s", error)
        return None
