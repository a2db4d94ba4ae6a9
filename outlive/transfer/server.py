"""The server: sends bytes of files to clients that have proved to be nodes of the cluster, and answers their questions.

One thread waits for connections, and each connection has a thread, which reads a piece, computes its checksum while the
piece is in the processor's caches, and sends it. `sendfile(2)` would save the copy, but the checksum would then have to
fault in the pages: sender and receiver together took 1.2 times the processor time. And the file could not change before
the pages had arrived.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from outlive.arrays.lock import OwnedFile
from outlive.transfer import wire
from outlive.transfer.channel import Channel, Checksum, Lost
from outlive.transfer.door import Counts, Door
from outlive.transfer.settings import Tls

_MOST = 512  # connections
_IDLE = 60.0  # seconds that a connection may ask for nothing
_STALLED = 60.0  # seconds in which the other side takes no byte
_LOOK = 0.5  # seconds between two looks whether the server was closed

_log = logging.getLogger(__name__)


class Gone(Exception):
    """This node does not have the array, or not any more."""


class Opened(NamedTuple):
    """The part of an open file that a request may read. The server closes it; until then the file does not change."""

    file: OwnedFile
    begin: int
    end: int
    head: bytes
    """Bytes that are sent before those of the file."""


class Server:
    """Listens at one address, from now until it is closed or this process ends.

    Parameters
    ----------
    host, ports
        The server takes the first of the ports that is free.
    node
        The node that has the files. A client that looks for another node is refused.
    secret
        Returns the cluster's secret.
    opened
        Opens the file that a request asks for. Raises Gone.
    answered
        Answers a question. Whatever it raises, the client has to ask in another way.
    checksum
        Returns the checksum of a piece.
    tls
        None: no TLS.

    Raises
    ------
    OSError
        The server can listen at none of the ports, or the system has no more threads.
    """

    def __init__(
        self,
        host: str,
        ports: Sequence[int],
        *,
        node: str,
        secret: Callable[[], bytes],
        opened: Callable[[wire.Request], Opened],
        answered: Callable[[bytes], bytes],
        checksum: Checksum,
        tls: Tls | None = None,
    ) -> None:
        self._opened, self._answered, self._checksum = opened, answered, checksum
        self._idle: dict[Channel, None] = {}  # those that wait for a request, the one that waits longest first
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._door = Door(
            host,
            ports,
            name=node,
            secret=secret,
            most=_MOST,
            may_end=lambda: bool(self._idle),
            end_idle=self._end_idle,
            tls=tls,
        )
        self.host, self.port = self._door.host, self._door.port
        self._thread = threading.Thread(target=self._accept, name="transfer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._door.listener.close()
            raise OSError(f"the system has no more threads: {error}") from error

    @property
    def counts(self) -> Counts:
        return self._door.counts

    @property
    def listens(self) -> bool:
        """Whether the server still listens. If not, it was closed, or met an unexpected error."""
        return self._thread.is_alive() and not self._closed.is_set()

    def close(self) -> None:
        """Stop listening, and end all connections. Harmless to repeat."""
        self._closed.set()
        self._door.abort_all()

    def _accept(self) -> None:
        ready = select.poll()
        ready.register(self._door.listener.fileno(), select.POLLIN)
        try:
            while not self._closed.is_set():
                if ready.poll(_LOOK * 1000):
                    self._door.take_one(0.05, self._converse)
        finally:
            self._door.listener.close()

    def _end_idle(self) -> None:
        """See `Door`. Each process that reads small arrays has a connection, and a keeper needs one too."""
        with self._lock:
            longest = next(iter(self._idle), None)
            if longest is not None:
                del self._idle[longest]
        if longest is not None:
            longest.abort()

    def _converse(self, channel: Channel) -> None:
        try:
            has_asked = False
            while not self._closed.is_set():
                request = wire.request(self._next(channel, may_end=has_asked))
                has_asked = True
                if isinstance(request, wire.Question):
                    self._answer(channel, channel.read(request.size, time.monotonic() + _IDLE))
                else:
                    self._serve(channel, request)
        except (Lost, wire.Malformed, OSError) as error:
            _log.debug("a connection ended: %s", error)
        except Exception:  # noqa: BLE001 - it ends this connection only
            _log.exception("a connection ended by an error")
        finally:
            with self._lock:
                self._idle.pop(channel, None)
            self._door.left(channel)
            channel.close(throw_away=True)

    def _next(self, channel: Channel, *, may_end: bool) -> bytes:
        """Wait for the next request. Raises Lost.

        The first one is on its way, as a rule: a client whose new connection ends takes itself for refused.
        """
        if may_end:
            with self._lock:
                self._idle[channel] = None
        frame = channel.read(wire.REQUEST_SIZE, time.monotonic() + _IDLE)
        with self._lock:
            self._idle.pop(channel, None)
        return frame

    def _answer(self, channel: Channel, question: bytes) -> None:
        """Answer a question. Raises Lost."""
        try:
            answer = self._answered(question)
            if len(answer) > wire.LONGEST_HEAD:
                raise wire.Malformed(f"an answer of {len(answer)} bytes")
        except Exception as error:  # noqa: BLE001 - the client then asks through Ray, which raises it there
            _log.debug("a question has no answer: %s", error)
            channel.send([wire.Answer(wire.FAILED).packed()], _STALLED)
            return
        channel.send([wire.Answer(wire.OK, 0, len(answer)).packed(), answer], _STALLED)

    def _serve(self, channel: Channel, request: wire.Request) -> None:
        """Answer a request. Raises Lost, Malformed."""
        try:
            opened = self._opened(request)
        except Gone:
            channel.send([wire.Answer(wire.GONE).packed()], _STALLED)
            return
        except Exception as error:  # noqa: BLE001 - the client then asks through Ray, which raises it there
            _log.debug("%s cannot be sent: %s", request.array_id, error)
            channel.send([wire.Answer(wire.FAILED).packed()], _STALLED)
            return
        try:
            size = opened.end - opened.begin
            if size < 0 or len(opened.head) > wire.LONGEST_HEAD:
                raise wire.Malformed(f"{size} bytes of {request.array_id}")
            self._send(channel, opened)
        finally:
            opened.file.close()

    def _send(self, channel: Channel, opened: Opened) -> None:
        answer = wire.Answer(wire.OK, opened.end - opened.begin, len(opened.head))
        first: list[bytes | memoryview] = [answer.packed(), opened.head]
        buffer = memoryview(bytearray(min(answer.size, wire.PIECE + wire.REST)))
        offset, sums = opened.begin, list[int]()
        while offset < opened.end:
            piece = buffer[: wire.piece(opened.end - offset)]
            if os.preadv(opened.file.fileno(), [piece], offset) != len(piece):
                raise Lost("the file ends before it should")
            offset += len(piece)
            self._count(len(piece))
            sums.append(self._checksum(piece))
            if offset < opened.end:
                channel.send([*first, piece], _STALLED, more=True)
                first = []
            else:
                first.append(piece)
        channel.send([*first, wire.checksums(sums)], _STALLED)

    def _count(self, sent: int) -> None:
        with self._lock:
            self.counts.sent += sent
