"""Small copies: many small arrays travel together, and the catalog is told of all of them in one call."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import COPIED, is_cached, is_copied
from outlive.arrays.marks import mark
from outlive.arrays.segment import read_info
from outlive.catalog.wire import pack, unpack
from outlive.cluster import direct
from outlive.cluster.checksum import checksum
from outlive.cluster.port import Call, Failed
from outlive.cluster.transfer import NotThere, Source, Unreachable, note_fallbacks, open_sealed
from outlive.errors import CorruptArray, StoreUnavailable
from outlive.transfer.channel import Lost

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf
    from outlive.transfer.client import Link


class Parcel(NamedTuple):
    """Several segments, one after the other in `data`."""

    infos: bytes  # by `wire.pack`
    deadlines_ns: list[int]  # their modification times; see `transfer.Head`
    checksum: int
    data: pickle.PickleBuffer | memoryview


def send_small(shelf: Shelf, array_ids: list[str], step: int) -> Iterator[Parcel]:
    """The segments of sealed arrays, in parcels of about `step` bytes. Arrays that are not here are left out."""
    infos, deadlines, segments, size = list[ArrayInfo](), list[int](), list[bytes](), 0
    for array_id in array_ids:
        try:
            path, file = open_sealed(shelf, array_id)
        except NotThere:
            continue
        with file:
            fd = file.fileno()
            info, status = read_info(fd, path), os.fstat(fd)
            if not is_copied(status.st_mode) and not is_cached(status.st_mode):
                mark(shelf, array_id, add=COPIED)  # before its bytes leave: from here on a deletion asks the catalog
                status = os.fstat(fd)
            segments.append(os.pread(fd, status.st_size, 0))
        infos.append(info)
        deadlines.append(status.st_mtime_ns)
        size += info.size
        if size >= step:
            yield _parcel(infos, deadlines, segments)
            infos, deadlines, segments, size = [], [], [], 0
    if infos:
        yield _parcel(infos, deadlines, segments)


def _parcel(infos: list[ArrayInfo], deadlines: list[int], segments: list[bytes]) -> Parcel:
    data = b"".join(segments)
    return Parcel(pack(infos), deadlines, checksum(data), pickle.PickleBuffer(data))


def receive_small(source: Source, array_ids: list[str]) -> Iterator[Parcel]:
    """Parcels from another node's keeper, of about the source's `step` bytes, each verified.

    Raises
    ------
    Unreachable
    CorruptArray
        A parcel did not arrive as it was sent.
    """
    link = None if source.links is None else source.links.to(source.node)
    answered = 0
    if source.links is not None and link is not None:
        try:
            for parcel, count in _directly(link, array_ids, source.step):
                yield parcel
                answered += count
        except Lost as error:
            source.links.lost(source.node, link, error)
        else:
            return
    for parcel in _through_ray(source, array_ids[answered:]):
        note_fallbacks(source, len(parcel.deadlines_ns))
        yield parcel
        del parcel


def _directly(link: Link, array_ids: list[str], step: int) -> Iterator[tuple[Parcel, int]]:
    """Parcels, and how many of the ids each answers. Raises Lost."""
    infos, deadlines, segments, size, count = list[ArrayInfo](), list[int](), list[bytes](), 0, 0
    for number, sent in enumerate(direct.each(link, array_ids), 1):
        count += 1
        if sent is not None:
            infos.append(sent.info)
            deadlines.append(sent.deadline_ns)
            segments.append(sent.data)
            size += len(sent.data)
        if size >= step or number == len(array_ids):
            data = b"".join(segments)
            yield Parcel(pack(infos), deadlines, 0, memoryview(data)), count  # the link has verified each array
            infos, deadlines, segments, size, count = [], [], [], 0, 0


def _through_ray(source: Source, array_ids: list[str]) -> Iterator[Parcel]:
    parcels = source.peers.stream(source.node, Call.of("send_many", array_ids, source.step))
    try:
        for parcel in parcels:
            if checksum(parcel.data) != parcel.checksum:
                raise CorruptArray("arrays did not arrive as they were sent: their checksum differs; try again")
            yield parcel
            del parcel
    except Failed:
        raise
    except StoreUnavailable as error:  # the keeper is away, or is just leaving its node
        raise Unreachable(str(error)) from None


def drafts_of(shelf: Shelf, parcel: Parcel) -> list[Draft]:
    """Make a complete draft of each array in a parcel, to be kept once it is sealed.

    Raises
    ------
    CorruptArray, StoreFull
        All drafts are discarded.
    """
    drafts: list[Draft] = []
    offset = 0
    data = memoryview(parcel.data)
    try:
        for info, deadline_ns in zip(unpack(parcel.infos), parcel.deadlines_ns, strict=True):
            draft = Draft.make(shelf, info, COPIED)
            drafts.append(draft)
            draft.write_segment([data[offset : offset + info.size]])
            offset += info.size
            if info.ttl:
                os.utime(draft.path, ns=(deadline_ns, deadline_ns))
    except BaseException:
        for draft in drafts:
            draft.discard()
        raise
    return drafts
