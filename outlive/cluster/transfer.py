"""Transfer: how a copy of an array, or some rows of it, gets from one node to another.

The bytes come by a connection to the keeper's transfer server, if there is one (see `direct`). If there is none, or it
breaks, they come in chunks through Ray's own object transfer, as a streaming generator. The sender is at most a few
chunks ahead. A chunk lives only until it is written, while the next one is on its way. A copy is the segment's file,
byte by byte. Each chunk has a checksum, and the segment's header and footer are verified before the copy is sealed.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import pickle
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import CACHED, COPIED, is_cached, is_copied
from outlive.arrays.lock import SHARED, OwnedFile, opened_locked
from outlive.arrays.marks import mark
from outlive.arrays.segment import NOT_NOW, read_info
from outlive.catalog.wire import Located, pack, unpack
from outlive.cluster import direct
from outlive.cluster.checksum import checksum
from outlive.cluster.port import Call, Failed, Nobody, Peers
from outlive.errors import CorruptArray, OutliveError, StoreUnavailable
from outlive.transfer.channel import Lost
from outlive.transfer.client import NotServed
from outlive.transfer.wire import WHOLE

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf
    from outlive.cluster.links import Links
    from outlive.transfer.client import Link

T = TypeVar("T")
_PAUSE = 0.2  # seconds until a node that cannot be reached is tried again
_GIVE_UP = 120.0  # seconds; Ray takes up to about a minute to see that a node is dead
CHUNK = 64 << 20  # bytes


class NotThere(OutliveError):
    """The sender does not have the array, or not any more. The sender raises this, and the port passes it on."""


class NoKeeper(NotThere):
    """The sending node has no keeper: it has left, or it is gone for good and nobody has started another yet."""


class Unreachable(Exception):
    """The sender does not answer: it is starting again, or its node died."""


class Head(NamedTuple):
    """The first part of a stream, before the chunks."""

    info: bytes  # by `wire.pack`, as the segment's footer has it
    deadline_ns: int  # the segment's modification time: when its time to live is over, if it has one


class Chunk(NamedTuple):
    """Some bytes of a segment. Ray carries the buffer without pickling it."""

    checksum: int
    data: pickle.PickleBuffer | memoryview


class ChunkSize:
    """The size of a node's chunks, in bytes: several chunks of several transfers have to fit into its object store."""

    def __init__(self, peers: Peers, node: str) -> None:
        self._peers, self._node, self._known = peers, node, 0

    def __call__(self) -> int:
        """Raises StoreUnavailable."""
        if not self._known:
            here = self._peers.node(self._node)
            if here is None:  # the head does not say: it is asked again
                return CHUNK
            capacity = here.object_store_memory
            self._known = min(CHUNK, max(1 << 20, capacity // 16)) if capacity else CHUNK
        return self._known


def from_nodes(
    hinted: list[str], locate: Callable[[], Located], use: Callable[[str], None], start: Callable[[str], object]
) -> Located | None:
    """Try nodes until one serves the array; returns None then. If no node has it, returns the catalog's answer.

    Parameters
    ----------
    hinted
        The nodes to try before the catalog is asked.
    locate
        Asks the catalog. A node that it names and that cannot be reached is tried again.
    use
        Gets the array from a node. Raises `NotThere` or `Unreachable` if that does not serve it.
    start
        Has a keeper started on a node that has the array and no keeper. Raises StoreUnavailable if the node is dead.

    Raises
    ------
    StoreUnavailable
        The nodes that have the array do not answer, and Ray does not say that they are dead.
    """
    denied, silent = set[str](), set[str]()
    nodes, located, began = hinted, Located([]), time.monotonic()
    while True:
        reached = False
        for node in nodes:
            try:
                use(node)
                return None
            except NoKeeper:  # only where the catalog says that the array is: a hinted node may have been left for good
                if node in located.nodes:
                    with contextlib.suppress(StoreUnavailable):
                        start(node)
                silent.add(node)
            except NotThere:
                reached = True
                denied.add(node)
            except Unreachable:
                silent.add(node)
        if nodes and not reached and located.nodes:
            if time.monotonic() > began + _GIVE_UP:
                raise StoreUnavailable(
                    f"node {', '.join(nodes)} has the array, and has not answered for {_GIVE_UP:.0f} s; try again"
                )
            time.sleep(_PAUSE)
        located = locate()
        nodes = sorted((node for node in located.nodes if node not in denied), key=lambda node: node in silent)
        if not nodes:
            return located


# --- the sender, in the keeper of a node that has the array


def send(shelf: Shelf, array_id: str, begin: int, end: int | None, step: int) -> Iterator[Head | Chunk]:
    """The bytes from `begin` to `end` (None: all of the file) of a sealed array's segment."""
    path, file = open_sealed(shelf, array_id)
    with file:
        fd = file.fileno()
        info, size = read_info(fd, path), os.fstat(fd).st_size
        mode = os.fstat(fd).st_mode
        unmarked = end is None and not is_copied(mode) and not is_cached(mode)
        # The mark comes before the first byte leaves: from here on, a deletion has to ask the catalog.
        if unmarked and not mark(shelf, array_id, add=COPIED):
            raise NotThere(array_id)
        yield Head(pack([info]), os.fstat(fd).st_mtime_ns)
        with mmap.mmap(fd, size, prot=mmap.PROT_READ) as pages, memoryview(pages) as view:
            for offset in range(begin, size if end is None else end, step):
                with view[offset : min(offset + step, size if end is None else end)] as part:
                    buffer = pickle.PickleBuffer(part)
                    try:
                        yield Chunk(checksum(part), buffer)
                    finally:  # the receiver may have closed the stream
                        buffer.release()


def open_sealed(shelf: Shelf, array_id: str) -> tuple[str, OwnedFile]:
    """Open an array's segment so that nobody recycles it. Returns its path, too.

    Raises
    ------
    NotThere
    OSError
        There are too many open files. That says nothing of the array.
    """

    def opened(path: str) -> tuple[str, OwnedFile]:
        try:
            return path, opened_locked(path, SHARED)
        except OSError as error:
            if error.errno in NOT_NOW:
                raise
            raise FileNotFoundError(path) from None

    try:
        return shelf.somewhere(array_id, opened)
    except FileNotFoundError:
        raise NotThere(array_id) from None


# --- the receiver


class Source(NamedTuple):
    """The node from which an array comes, and how."""

    peers: Peers
    node: str
    step: int  # the bytes of a chunk
    epoch: int = 0  # the epoch under which the node may seal the array first, if it is listed but not sealed yet
    links: Links | None = None  # the links to transfer servers, if they are to be used


def receive(source: Source, array_id: str, begin: int, end: int | None) -> Iterator[Head | Chunk]:
    """The parts that another node's keeper sends, each chunk verified.

    Raises
    ------
    NotThere, Unreachable
    CorruptArray
        A chunk did not arrive as it was sent.
    """
    parts = source.peers.stream(source.node, Call.of("send", array_id, begin, end, source.step, source.epoch))
    try:
        for part in parts:
            if isinstance(part, Chunk) and checksum(part.data) != part.checksum:
                raise CorruptArray(f"array {array_id} did not arrive as it was sent: its checksum differs; try again")
            yield part
            del part
    except Nobody as error:
        raise NoKeeper(str(error)) from None
    except Failed:
        raise
    except StoreUnavailable as error:  # the keeper is away, or is just leaving its node
        raise Unreachable(f"{array_id}: {error}") from None


def copy(shelf: Shelf, source: Source, array_id: str, *, kept: bool, size: int = WHOLE) -> Draft:
    """Copy another node's array; a complete draft, not yet sealed.

    Parameters
    ----------
    size
        The bytes of its segment, if known.

    Raises
    ------
    NotThere, Unreachable, CorruptArray, StoreFull
    """
    draft = directly(source, array_id, functools.partial(direct.copy, shelf, kept=kept, size=size))
    if draft is None:
        draft = copy_through_ray(shelf, source, array_id, kept=kept)
        note_fallbacks(source, 1)
    return draft


def directly(source: Source, array_id: str, act: Callable[[Link, str, int], T]) -> T | None:
    """Do `act` by a connection to the source; its answer. None if there is no connection: then go through Ray.

    Raises
    ------
    NotThere
    """
    if source.links is None:
        return None
    link = source.links.to(source.node)
    try:
        if link is not None:
            return act(link, array_id, source.epoch)
    except NotServed:
        raise NotThere(array_id) from None
    except Lost as error:
        assert link is not None
        source.links.lost(source.node, link, error)
    return None


def note_fallbacks(source: Source, count: int) -> None:
    """Note that so many arrays have come through Ray, where links are to be used."""
    if source.links is not None:
        source.links.fell_back(count)


def copy_through_ray(shelf: Shelf, source: Source, array_id: str, *, kept: bool) -> Draft:
    """`copy` by a stream of chunks."""
    parts = receive(source, array_id, 0, None)
    head = next(parts)
    assert isinstance(head, Head)
    (info,) = unpack(head.info)
    draft = Draft.make(shelf, info, COPIED if kept else CACHED)
    try:
        draft.write_segment(part.data for part in parts if isinstance(part, Chunk))
        if info.ttl:
            os.utime(draft.path, ns=(head.deadline_ns, head.deadline_ns))
    except BaseException:
        draft.discard()
        raise
    finally:
        parts.close()  # type: ignore[attr-defined]
    return draft


def rows(source: Source, info: ArrayInfo, begin: int, end: int, into: memoryview) -> None:
    """Read bytes `begin` to `end` of an array's data from another node into memory, without making a copy here.

    Raises
    ------
    NotThere, Unreachable, CorruptArray
    """
    wanted = direct.Rows(info.offset + begin, info.offset + end, into)
    if directly(source, info.id, wanted.read):
        return
    offset = 0
    for part in receive(source, info.id, info.offset + begin, info.offset + end):
        if isinstance(part, Chunk):
            data = memoryview(part.data)
            into[offset : offset + len(data)] = data
            offset += len(data)
            del data
    note_fallbacks(source, 1)
