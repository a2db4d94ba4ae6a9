"""The wire: how `ArrayInfo`s and answers travel between processes: as JSON, in one `bytes` for each call.

Ray pickles each named tuple by way of Python, which adds 0.4 ms to a call. Each further argument adds 0.1 ms, and so
does a tuple instead of `bytes` as the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

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
    return json.dumps(list(infos)).encode()


def unpack(data: bytes) -> list[ArrayInfo]:
    return [_info(fields) for fields in json.loads(data)]


def pack_request(infos: list[ArrayInfo], node: str, stale: int) -> bytes:
    return json.dumps([infos, node, stale]).encode()


def unpack_request(data: bytes) -> tuple[list[ArrayInfo], str, int]:
    infos, node, stale = json.loads(data)
    return [_info(fields) for fields in infos], node, stale


def pack_bound(bound: Bound) -> bytes:
    return json.dumps(bound).encode()


def unpack_bound(data: bytes) -> Bound:
    return Bound(*json.loads(data))


def pack_found(found: Iterable[Found | None]) -> bytes:
    return json.dumps(list(found)).encode()


def unpack_found(data: bytes) -> list[Found | None]:
    return _found(json.loads(data))


def pack_held(number: int, found: Iterable[Found | None]) -> bytes:
    """The catalog's answer to a reader of several keys: the number of the hold, and the array of each key."""
    return json.dumps([number, list(found)]).encode()


def unpack_held(data: bytes) -> tuple[int, list[Found | None]]:
    number, found = json.loads(data)
    return number, _found(found)


def pack_listed(listed: Iterable[Listed]) -> bytes:
    return json.dumps(list(listed)).encode()


def unpack_listed(data: bytes) -> list[Listed]:
    return [
        Listed(_info(fields), kept, late, [Successor(*one) for one in successors])
        for fields, kept, late, successors in json.loads(data)
    ]


def _found(found: list[Any]) -> list[Found | None]:
    return [None if one is None else Found(_info(one[0]), *one[1:]) for one in found]


def _info(fields: list[Any]) -> ArrayInfo:
    array_id, store, key, dtype, shape, *rest = fields
    return ArrayInfo(array_id, store, key, dtype, tuple(shape), *rest)
