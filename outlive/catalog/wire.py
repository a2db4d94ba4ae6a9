"""The wire: how `ArrayInfo`s and answers travel between processes: as MessagePack, in one `bytes` for each call.

Ray pickles each named tuple by way of Python, which adds 0.4 ms to a call. Each further argument adds 0.1 ms, and so
does a tuple instead of `bytes` as the answer. JSON takes five times as long, and each put and get by key waits for it
four times.

Earlier versions packed JSON, and the head may remember some of it. It can be unpacked still: JSON begins with a
bracket, and MessagePack with the number of items.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]

from outlive.arrays.info import ArrayInfo


class Bound(NamedTuple):
    """The catalog's answer to a writer."""

    epoch: int  # the epoch under which to seal; 0: nothing was listed
    behind: int = 0  # if not 0: stamp the drafts with a later version than this, and ask again
    elsewhere: bool = False  # other nodes may have copies of what is replaced: ask `replace`, which takes longer


class Found(NamedTuple):
    """The catalog's answer to a reader."""

    info: ArrayInfo
    nodes: list[str]  # the nodes that have a copy, its home first
    doomed: bool = False  # it is being deleted: if it is not found, it is not lost
    epoch: int = 0  # the epoch under which the array may be sealed, if it is not yet
    lost_at: float = 0.0  # when its last copy went with nodes[0], in seconds since 1970; 0: it is not lost
    replacing: bool = False  # it may not be sealed yet, and some may still read the array that it replaces
    alone: bool = False  # it lacks replicas, and the array that it replaced could come back: ask `secure` first


class Successor(NamedTuple):
    """An array that was about to replace another, and that only its home had."""

    version: int
    id: str
    home: str


class Listed(NamedTuple):
    """An array on a shelf, as its keeper lists it."""

    info: ArrayInfo
    kept: bool  # otherwise cached
    late: bool = False  # it was about to be replaced or deleted
    successors: Sequence[Successor] = ()  # the arrays that were about to replace it


class Located(NamedTuple):
    """The catalog's answer to a reader whose node has no copy."""

    nodes: list[str]  # the nodes that have a copy, the nearest first
    lost_on: str | None = None  # the dead node that had the last copy
    lost_at: float = 0.0  # seconds since 1970
    why: str | None = None  # why the array ended, if it did
    busy: bool = False  # each of the nodes sends the array to others just now: ask again soon


def pack(infos: Iterable[ArrayInfo]) -> bytes:
    return _packed(list(infos))


def unpack(data: bytes) -> list[ArrayInfo]:
    return [ArrayInfo(*fields) for fields in _unpacked(data)]


def pack_request(infos: list[ArrayInfo], node: str, stale: int) -> bytes:
    return _packed((infos, node, stale))


def unpack_request(data: bytes) -> tuple[list[ArrayInfo], str, int]:
    infos, node, stale = _unpacked(data)
    return [ArrayInfo(*fields) for fields in infos], node, stale


def pack_bound(bound: Bound) -> bytes:
    return _packed(bound)


def unpack_bound(data: bytes) -> Bound:
    return Bound(*_unpacked(data))


def pack_found(found: Iterable[Found | None]) -> bytes:
    return _packed(list(found))


def unpack_found(data: bytes) -> list[Found | None]:
    return _found(_unpacked(data))


def pack_held(number: int, found: Iterable[Found | None]) -> bytes:
    """The catalog's answer to a reader of several keys: the number of the hold, and the array of each key."""
    return _packed((number, list(found)))


def unpack_held(data: bytes) -> tuple[int, list[Found | None]]:
    number, found = _unpacked(data)
    return number, _found(found)


def pack_listed(listed: Iterable[Listed]) -> bytes:
    return _packed([(info, kept, late, list(successors)) for info, kept, late, successors in listed])


def unpack_listed(data: bytes) -> list[Listed]:
    return [
        Listed(ArrayInfo(*fields), kept, late, [Successor(*one) for one in successors])
        for fields, kept, late, successors in _unpacked(data)
    ]


def _found(found: Iterable[Any]) -> list[Found | None]:
    return [None if one is None else Found(ArrayInfo(*one[0]), list(one[1]), *one[2:]) for one in found]


def _packed(content: Any) -> bytes:
    packed: bytes = msgpack.packb(content, unicode_errors="surrogatepass")
    return packed


def _unpacked(data: bytes) -> Any:
    """The content, with a tuple in place of each list."""
    if data.startswith(b"["):
        return _tuples(json.loads(data))
    return msgpack.unpackb(data, use_list=False, unicode_errors="surrogatepass")


def _tuples(content: Any) -> Any:
    return tuple(map(_tuples, content)) if isinstance(content, list) else content
