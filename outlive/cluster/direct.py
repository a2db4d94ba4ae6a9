"""Direct copies: arrays of another node, by a connection to its keeper's transfer server, and verified."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgpack  # type: ignore[import-untyped]

from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import CACHED, COPIED
from outlive.arrays.segment import COPY_BELOW, is_sound, is_whole
from outlive.catalog.wire import pack, unpack
from outlive.errors import CorruptArray
from outlive.transfer.channel import Lost
from outlive.transfer.client import Damaged, Memory

if TYPE_CHECKING:
    from outlive.arrays.draft import Target
    from outlive.arrays.shelf import Shelf
    from outlive.transfer.client import Link

_DEADLINE = 8  # bytes


class Sent(NamedTuple):
    """A small array's segment, as it was received."""

    info: ArrayInfo
    deadline_ns: int  # see `transfer.Head`
    data: bytes


def head(info: ArrayInfo, deadline_ns: int) -> bytes:
    """The head that is sent before the bytes of an array's segment; see `transfer.Head`."""
    return deadline_ns.to_bytes(_DEADLINE, "little") + pack([info])


def _told(array_id: str, sent: bytes, total: int) -> tuple[ArrayInfo, int]:
    """Info and deadline by the head of this array, of which so many bytes follow. Raises Lost: it has no checksum."""
    try:
        (info,) = unpack(sent[_DEADLINE:])
        if is_sound(info) and (info.id, info.size) == (array_id, total):
            return info, int.from_bytes(sent[:_DEADLINE], "little")
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise Lost(f"what came before the bytes of {array_id} cannot be read: {error}") from error
    raise Lost(f"what came before {total} bytes of {array_id} is said of others")


def copy(shelf: Shelf, link: Link, array_id: str, epoch: int, *, kept: bool, size: int) -> Draft:
    """`transfer.copy` by a connection. Raises NotServed, Lost, StoreFull."""
    draft: Draft | None = None
    small: tuple[ArrayInfo, bytearray] | None = None
    deadline_ns, mode = 0, COPIED if kept else CACHED

    def target(sent: bytes, total: int) -> Target | Memory:
        nonlocal draft, small, deadline_ns
        info, deadline_ns = _told(array_id, sent, total)
        if total <= COPY_BELOW:
            small = info, bytearray(total)
            return Memory(memoryview(small[1]))
        draft = Draft.make(shelf, info, mode)
        return draft.target()

    try:
        link.read(array_id, 0, size, target, epoch=epoch, copies=True)
        if small is not None:
            draft = written(shelf, *small, mode)
        else:
            assert draft is not None
            draft.verify()
        if draft.info.ttl:
            os.utime(draft.path, ns=(deadline_ns, deadline_ns))
    except BaseException as error:
        if draft is not None:
            draft.discard()
        if isinstance(error, CorruptArray):
            raise Damaged(str(error)) from error
        raise
    return draft


def written(shelf: Shelf, info: ArrayInfo, data: bytes | bytearray, mode: int) -> Draft:
    """A complete draft of a small array. It is verified before it is written, which takes a third of the time."""
    if is_whole(info, data) and (made := Draft.write_small(shelf, [(info, [data])], mode)):
        return made[0]
    draft = Draft.make(shelf, info, mode)  # memory has no room now, or another version has written it
    try:
        draft.write_segment([data])
    except BaseException:
        draft.discard()
        raise
    return draft


class Rows(NamedTuple):
    """A range of bytes of a segment, and the memory that they go to."""

    begin: int
    end: int
    into: memoryview

    def read(self, link: Link, array_id: str, epoch: int) -> bool:
        """Read them by a connection; always True. Raises NotServed, Lost."""
        link.read(array_id, self.begin, self.end, lambda *_: Memory(self.into), epoch=epoch)
        return True


def each(link: Link, array_ids: Sequence[str], epoch: int = 0) -> Iterator[Sent | None]:
    """Small arrays in this order; None for an array that is not there. Raises Lost."""
    for sent in link.read_each(array_ids, _told, epoch=epoch, copies=True):
        yield None if sent is None else Sent(*sent[0], sent[1])
