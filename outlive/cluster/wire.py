"""How `ArrayInfo`s travel between processes: as JSON, one `bytes` a call.

Ray pickles each named tuple by way of Python: a call with one of them takes 0.4 ms longer. Each further argument of a
call, or a tuple instead of `bytes` as its answer, takes 0.1 ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from outlive.arrays.info import ArrayInfo


class Bound(NamedTuple):
    """The catalog's answer to a writer: seal under `epoch`; or, if `behind`, restamp with a later version than that."""

    epoch: int
    behind: int


class Found(NamedTuple):
    """The catalog's answer to a reader."""

    info: ArrayInfo
    node: str
    doomed: bool  # being deleted: not finding it is no loss
    epoch: int  # under which the array, if it is not sealed yet, may be


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
    return [None if one is None else Found(_info(one[0]), *one[1:]) for one in json.loads(data)]


def _info(fields: list[Any]) -> ArrayInfo:
    array_id, store, key, dtype, shape, *rest = fields
    return ArrayInfo(array_id, store, key, dtype, tuple(shape), *rest)
