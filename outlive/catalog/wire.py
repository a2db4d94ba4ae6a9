"""How `ArrayInfo`s travel between processes: as JSON, one `bytes` a call.

Ray pickles each named tuple by way of Python: a call with one of them takes 0.4 ms longer. Each further argument of a
call, or a tuple instead of `bytes` as its answer, takes 0.1 ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from outlive.arrays.info import ArrayInfo


class Bound(NamedTuple):
    """The catalog's answer to a writer."""

    epoch: int  # seal under it
    behind: int = 0  # not 0: restamp with a later version than that, and ask again
    elsewhere: bool = False  # other nodes have copies of what is replaced: ask `replace`, which takes longer


class Found(NamedTuple):
    """The catalog's answer to a reader."""

    info: ArrayInfo
    nodes: list[str]  # that have a copy, its home first
    doomed: bool = False  # being deleted: not finding it is no loss
    epoch: int = 0  # under which the array, if it is not sealed yet, may be
    lost_at: float = 0.0  # when its last copy went with nodes[0], in seconds since 1970; 0: it is not lost
    replacing: bool = False  # an array that some may still read, because this one may not be sealed yet
    alone: bool = False  # it may go with its node, and what it replaced come back: ask `secure`, and show it then


class Successor(NamedTuple):
    """An array that was about to replace another, and was put on its home alone."""

    version: int
    id: str
    home: str


class Listed(NamedTuple):
    """What a keeper tells of an array on its shelf."""

    info: ArrayInfo
    kept: bool  # else cached
    late: bool = False  # a later array of its key was to replace it, or it was to be deleted
    successors: Sequence[Successor] = ()  # by which, if so


class Located(NamedTuple):
    """The catalog's answer to who holds no copy."""

    nodes: list[str]  # that have one, the nearest first
    lost_on: str | None = None  # the node that had the last one, and is dead
    lost_at: float = 0.0
    why: str | None = None  # it is not there: it ended


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
    """The catalog's answer to who reads several keys: the number by which to release them, and what they stand for."""
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
