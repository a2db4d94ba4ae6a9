"""Filling: parts of an array that is being created on another node. They go to its keeper, which writes them.

They travel as arguments of calls: Ray carries large ones through its object store. The transfer server has no part in
this, because it only ever reads.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays.parts import PIECE, Region, name, write
from outlive.catalog.wire import pack, unpack
from outlive.cluster.checksum import checksum
from outlive.cluster.port import Call, NoAnswer, Nobody, Peers
from outlive.errors import CorruptArray, CreationEnded, StoreUnavailable

if TYPE_CHECKING:
    from outlive.arrays.info import ArrayInfo
    from outlive.arrays.shelf import Shelf


class Some(NamedTuple):
    """Some bytes of a part."""

    begin: int  # where they begin in the part
    checksum: int
    data: pickle.PickleBuffer | memoryview


def send_part(peers: Peers, node: str, info: ArrayInfo, region: Region, pieces: Iterable[memoryview]) -> None:
    """Write a part of an array that is being created on another node. Returns when all of it is written.

    If the keeper is restarted meanwhile, a piece may be written twice.

    Raises
    ------
    CreationEnded
        The array is stored or discarded, or its node is dead.
    StoreUnavailable
        The keeper of that node does not answer.
    StoreFull, CorruptArray
    """
    begin, packed, plain = 0, pack([info]), (region.begin, region.run, region.steps)
    for piece in pieces:
        buffer = pickle.PickleBuffer(piece)
        try:
            _send(peers, node, info, Call.of("fill", packed, plain, Some(begin, checksum(piece), buffer)))
        finally:  # an error's frames hold it, and Python before 3.12.4 crashes if it collects it in a reference loop
            buffer.release()
        begin += len(piece)
    if not begin:  # nothing is to be written; but say so if it is too late
        _send(peers, node, info, Call.of("fill", packed, plain, None))


def _send(peers: Peers, node: str, info: ArrayInfo, call: Call) -> None:
    try:
        with contextlib.suppress(Nobody):
            peers.ask_keeper(node, call, None)
            return
        _say_if_dead(peers, node, info)
        peers.find_keeper(node, start=True)
        peers.ask_keeper(node, call, None)
    except NoAnswer as error:
        _say_if_dead(peers, node, info)
        raise StoreUnavailable(
            f"{name(info)} is created on node {node}, whose keeper does not answer ({error}): the part may not be "
            "written, or only later; write the same again, or create the array again"
        ) from error
    except AttributeError:
        raise StoreUnavailable(
            f"{name(info)} is created on node {node}, whose keeper is of an earlier version of outlive, which takes no "
            "parts from other nodes: use the same version everywhere"
        ) from None


def _say_if_dead(peers: Peers, node: str, info: ArrayInfo) -> None:
    there = peers.node(node)
    if there is not None and not there.alive:
        raise CreationEnded(
            f"{name(info)} is not being created any more: node {node}, where it was, is dead. Create it again"
        )


def fill(shelf: Shelf, packed: bytes, region: tuple[int, int, tuple[tuple[int, int], ...]], some: Some | None) -> None:
    """Write bytes of a part that came from another node. May be called twice.

    Raises
    ------
    CreationEnded, CorruptArray, StoreFull
    """
    (info,) = unpack(packed)
    if some is None:
        write(shelf, info, Region(*region), ())
        return
    data = memoryview(some.data)
    if checksum(data) != some.checksum:
        raise CorruptArray(
            f"a part of {name(info)} did not arrive as it was sent: its checksum differs; write it again"
        )
    write(shelf, info, Region(*region), _cut(data), some.begin)


def _cut(data: memoryview) -> Iterator[memoryview]:
    for begin in range(0, len(data), PIECE):
        yield data[begin : begin + PIECE]
