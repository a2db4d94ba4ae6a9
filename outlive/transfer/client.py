"""The client: reads files from another node's server, and asks its owner. It uses each connection many times."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from outlive.arrays import cores
from outlive.arrays.clock import uptime
from outlive.arrays.lock import Mutex, living
from outlive.transfer import proof, wire
from outlive.transfer.channel import Channel, Checksum, Lacking, Lost, Silent
from outlive.transfer.settings import Tls

T = TypeVar("T")
_ANSWER = 5.0  # seconds for the beginning of an answer
_STALLED = 20.0  # seconds without a byte of an answer that has begun
_KEPT, KEPT_FOR = 4, 30.0  # idle connections to a server, and seconds; the server ends them after 60
_AT_ONCE = 64  # requests that may be on their way on one connection
_WORTH_ANOTHER = 4 << 20  # bytes for each stream
_MOST_STREAMS = 4  # of one read: each needs a core here, to receive and to sum up


class NotServed(Exception):
    """The server does not have this array, or not any more; or it has no answer to a question."""


class Unserved(Lost):
    """The server could not read the array, and said so. The connection is in order."""


class Damaged(Lost):
    """Bytes arrived that do not have the checksum that was sent."""


class Sink(Protocol):
    """Takes the bytes that are read. Several threads may use it, each for a range of its own.

    If a signal handler raises while `read` waits for them, one may use it a moment longer than `read` takes.
    """

    def window(self, offset: int, size: int) -> memoryview | None:
        """The memory that these bytes belong in. None: there is none, and they are passed to `write`."""

    def write(self, offset: int, data: memoryview) -> None:
        """Take these bytes before they are verified. If they turn out to be wrong, the whole read fails."""


class Memory:
    """A `Sink` that is memory of this process."""

    def __init__(self, into: memoryview) -> None:
        self._into = into

    def window(self, offset: int, size: int) -> memoryview | None:
        return self._into[offset : offset + size]

    def write(self, offset: int, data: memoryview) -> None:
        self._into[offset : offset + len(data)] = data


class Link:
    """The client of one node's server. Any thread may use it. A forked child's has no connections.

    Parameters
    ----------
    address
        Host and port.
    here, there
        The nodes of this process and of the server.
    secret
        The cluster's secret.
    checksum
        The function that the server uses too.
    on_work
        Called after each exchange that ended well.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        here: str,
        there: str,
        secret: bytes,
        checksum: Checksum,
        tls: Tls | None = None,
        on_work: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self.worked = False
        """Whether the server has ever accepted a proof."""
        self._reach = functools.partial(proof.reach, address, here=here, there=there, secret=secret, tls=tls)
        self.began_at = self.worked_at = 0
        """The moments, by `uptime`, at which an exchange was begun last, and at which one ended well."""
        self._there, self._checksum, self._on_work = there, checksum, on_work
        self._idle: list[tuple[float, Channel]] = []
        self._mutex = Mutex()
        _links.add(weakref.ref(self, _links.discard))

    def read(
        self, array_id: str, begin: int, end: int, target: Callable[[bytes, int], Sink], **options: int | bool
    ) -> None:
        """Read bytes `begin` to `end` of an array's file: by several connections, if they are many.

        Parameters
        ----------
        end
            WHOLE, if the size is not known. One connection then reads to the end of the file.
        target
            A function that returns the sink for these bytes. Its arguments are the head and the number of bytes. The
            sink's offsets count from `begin`.
        options
            Further fields of the `Request`.

        Raises
        ------
        NotServed
        Lost
            The sink may have some of the bytes.
        """
        bounds = [begin, end] if end == wire.WHOLE else _bounds(begin, end)
        request = wire.Request(array_id, begin, bounds[1], **options)  # type: ignore[arg-type]
        with self._exchange(request) as reply:
            sink = target(reply.head, reply.size if end == wire.WHOLE else end - begin)
            others = [
                _Part(self, request._replace(begin=first, end=last), sink, first - begin)
                for first, last in itertools.pairwise(bounds[1:])
            ]
            try:
                for part in others:
                    part.start()
                reply.into(sink, 0, self._checksum)
                for part in others:
                    part.join()
            except BaseException:
                for part in others:
                    part.abort()
                raise
            finally:
                for part in others:  # nobody writes into the sink after this returns, even if one part failed
                    part.join()
            for part in others:
                part.check()

    def read_each(
        self, array_ids: Sequence[str], told: Callable[[str, bytes, int], T], **options: int | bool
    ) -> Iterator[tuple[T, bytes] | None]:
        """Head and bytes of many small files, in this order; None for an array that the server does not have.

        Parameters
        ----------
        told
            A function that returns what a head says. Its arguments are the array, the head and the number of bytes,
            which it may refuse by Lost: they have not been read.

        Raises
        ------
        Lost
            The files that came before are whole.
        """
        for first in range(0, len(array_ids), _AT_ONCE):
            some = array_ids[first : first + _AT_ONCE]
            requests = [
                wire.Request(array_id, 0, wire.WHOLE, **options)  # type: ignore[arg-type]
                for array_id in some
            ]
            with self._channel([request.packed() for request in requests]) as (channel, answer):
                for number in range(len(some)):
                    reply = _Reply(channel, answer if number == 0 else _answer(channel))
                    if reply.status == wire.GONE:
                        yield None
                        continue
                    if reply.status != wire.OK:
                        raise Unserved(f"the server cannot read array {some[number]}")
                    said = told(some[number], reply.head, reply.size)
                    try:
                        data = bytearray(reply.size)
                    except (MemoryError, OverflowError) as error:
                        raise Lacking(f"no memory for {reply.size} bytes") from error
                    reply.into(Memory(memoryview(data)), 0, self._checksum)
                    yield said, bytes(data)

    def ask(self, question: bytes, patience: float) -> bytes:
        """The answer of the server's owner. It may hear the question twice.

        Parameters
        ----------
        patience
            Seconds for the answer to begin.

        Raises
        ------
        NotServed
        Lost
            The owner may have heard the question, or may hear it yet.
        """
        with self._channel([wire.Question(len(question)).packed() + question], patience) as (channel, answer):
            reply = _Reply(channel, answer)
        if reply.status != wire.OK:
            raise NotServed("the server has no answer")
        return reply.head

    def close(self) -> None:
        """Close the connections that are idle."""
        self._close_until(math.inf)

    def close_old(self) -> None:
        """Close the connections that have been idle for too long to be used again."""
        self._close_until(time.monotonic() - KEPT_FOR)

    def _close_until(self, until: float) -> None:
        with self._mutex.now:
            old = [channel for since, channel in self._idle if since <= until]
            self._idle = [(since, channel) for since, channel in self._idle if since > until]
        for channel in old:
            channel.close()

    # --- connections

    @contextlib.contextmanager
    def _exchange(self, request: wire.Request) -> Iterator[_Reply]:
        """One request and its answer. Raises NotServed, Lost."""
        with self._channel([request.packed()]) as (channel, answer):
            reply = _Reply(channel, answer)
            if reply.status == wire.OK:
                if request.end not in {wire.WHOLE, request.begin + reply.size}:
                    raise Lost(f"{reply.size} bytes instead of {request.end - request.begin}")
                yield reply
        if reply.status == wire.GONE:
            raise NotServed(request.array_id)
        if reply.status != wire.OK:
            raise Unserved(f"the server cannot read array {request.array_id}")

    @contextlib.contextmanager
    def _channel(self, requests: list[bytes], patience: float = _ANSWER) -> Iterator[tuple[Channel, wire.Answer]]:
        """A connection on which these requests were sent, and the first answer. It is kept if the block ends well."""
        channel, answer = self._begin(requests, patience)
        whole = False
        try:
            yield channel, answer
            whole = True
        finally:
            if whole:
                self._put_back(channel)
            else:
                channel.close(throw_away=True)

    def _begin(self, frames: list[bytes], patience: float) -> tuple[Channel, wire.Answer]:
        """Send requests, and read the first answer. If a kept connection turns out to be closed, the next is tried."""
        self.began_at = uptime()
        while True:
            kept = self._take_idle()
            channel = kept or self._connect()
            try:
                channel.send([b"".join(frames)], _STALLED)
                return channel, _answer(channel, patience)
            except Silent:
                channel.close()
                raise
            except Lost:
                channel.close()
                if kept is None:
                    raise
            except BaseException:
                channel.close()
                raise

    def _take_idle(self) -> Channel | None:
        with self._mutex.now:
            while self._idle:
                since, channel = self._idle.pop()
                if time.monotonic() < since + KEPT_FOR and channel.is_quiet():
                    return channel
                channel.close()
        return None

    def _put_back(self, channel: Channel) -> None:
        with self._mutex.now:
            self._idle.append((time.monotonic(), channel))
            surplus = [self._idle.pop(0)[1] for _ in range(len(self._idle) - _KEPT)]
        for one in surplus:
            one.close()
        self.worked_at = uptime()
        self._on_work()

    def _connect(self) -> Channel:
        channel = self._reach()
        self.worked = True
        return channel


class _Reply:
    """An answer whose bytes have not been read yet."""

    def __init__(self, channel: Channel, answer: wire.Answer) -> None:
        self._channel, self.status, self.size = channel, answer.status, answer.size
        self.head = channel.read(answer.head, time.monotonic() + _ANSWER)

    def into(self, sink: Sink, offset: int, checksum: Checksum) -> None:
        """Read all bytes into a sink, from `offset` on, and verify them. Raises Lost."""
        channel, end, sums = self._channel, offset + self.size, list[int]()
        own: memoryview | None = None
        while offset < end:
            size = wire.piece(end - offset)
            piece = sink.window(offset, size)
            if piece is None:
                own = own or memoryview(bytearray(min(end - offset, wire.PIECE + wire.REST)))  # the last may be longer
                channel.read_into(own[:size], _STALLED)
                sink.write(offset, own[:size])
                piece = own[:size]
            else:
                channel.read_into(piece, _STALLED)
            sums.append(checksum(piece))  # now, while the piece is in the processor's caches
            offset += size
        if channel.read(4 * len(sums), time.monotonic() + _STALLED) != wire.checksums(sums):
            raise Damaged("some bytes did not arrive as they were sent")


class _Part:
    """Reads a part of a range, by a thread and a connection of its own."""

    def __init__(self, link: Link, request: wire.Request, sink: Sink, offset: int) -> None:
        self._link, self._request, self._sink, self._offset = link, request, sink, offset
        self._error: BaseException | None = None
        self._aborted, self._channel = False, None  # type: bool, Channel | None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="transfer-part", daemon=True)

    def start(self) -> None:
        """Raises Lacking."""
        try:
            self._thread.start()
        except RuntimeError as error:  # the system has no more threads
            raise Lacking(str(error)) from error

    def _run(self) -> None:
        try:
            with self._link._exchange(self._request) as reply:  # noqa: SLF001 - this module
                with self._lock:
                    self._channel = reply._channel  # noqa: SLF001
                    if self._aborted:
                        raise Lost("another part could not be read")
                reply.into(self._sink, self._offset, self._link._checksum)  # noqa: SLF001
        except BaseException as error:  # noqa: BLE001 - `check` raises it
            self._error = error

    def abort(self) -> None:
        """Have the thread fail at once, or as soon as it begins."""
        with self._lock:
            self._aborted = True
            if self._channel is not None:
                self._channel.abort()

    def join(self) -> None:
        """Wait for the thread, if it was started. May be repeated."""
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Raise the error that the thread met, if any."""
        if self._error is not None:
            raise self._error


def _bounds(begin: int, end: int) -> list[int]:
    """Where the parts of a range begin, and its end: whole pieces, for as many streams as are worth it."""
    total = end - begin
    streams = max(1, min(_MOST_STREAMS, total // _WORTH_ANOTHER))
    if streams > 1:
        streams = max(1, min(streams, int(cores.usable())))
    return [*(begin + total * number // streams // wire.PIECE * wire.PIECE for number in range(streams)), end]


def _answer(channel: Channel, patience: float = _ANSWER) -> wire.Answer:
    try:
        return wire.answer(channel.read(wire.ANSWER_SIZE, time.monotonic() + patience))
    except wire.Malformed as error:
        raise Lost(str(error)) from error


_links: set[weakref.ref[Link]] = set()


@atexit.register
def _close_all() -> None:
    """Close idle connections as the program ends: Python would warn of each, where programs have it warn of files."""
    for link in living(_links):
        link.close()
