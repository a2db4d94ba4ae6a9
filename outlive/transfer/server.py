"""The server: sends bytes of files to clients that have proved to be nodes of the cluster, and answers their questions.

One thread waits for connections, and each connection has a thread, which reads a piece, computes its checksum while the
piece is in the processor's caches, and sends it. `sendfile(2)` would save the copy, but the checksum would then have to
fault in the pages: sender and receiver together took 1.2 times the processor time. And the file could not change before
the pages had arrived.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from outlive.arrays.lock import OwnedFile, no_fork
from outlive.transfer import proof, wire
from outlive.transfer.channel import Channel, Checksum, Lost, close_in_child
from outlive.transfer.settings import Tls

_MOST = 512  # connections
_MOST_UNPROVEN = 32  # connections that have not shown a proof yet
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


class Counts:
    """Counters since the server began."""

    sent = 0  # bytes
    refused = 0  # connections without a proof
    full = 0  # connections that were turned away, as there were too many


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
        self._node, self._secret, self._opened, self._checksum, self._tls = node, secret, opened, checksum, tls
        self._answered = answered
        self.counts = Counts()
        self._channels: set[Channel] = set()
        self._idle: dict[Channel, None] = {}  # those that wait for a request, the one that waits longest first
        self._unproven = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._listener = listen(host, ports)
        self.host, self.port = host, int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name="transfer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._listener.close()
            raise OSError(f"the system has no more threads: {error}") from error

    @property
    def listens(self) -> bool:
        """Whether the server still listens. If not, it was closed, or met an unexpected error."""
        return self._thread.is_alive() and not self._closed.is_set()

    def close(self) -> None:
        """Stop listening, and end all connections. Harmless to repeat."""
        self._closed.set()
        with self._lock:
            channels = list(self._channels)
        for channel in channels:
            channel.abort()

    def _accept(self) -> None:
        ready = select.poll()
        ready.register(self._listener.fileno(), select.POLLIN)
        try:
            while not self._closed.is_set():
                if ready.poll(_LOOK * 1000):
                    self._take_one()
        finally:
            self._listener.close()

    def _take_one(self) -> None:
        connection = accept(self._listener, 0.05)
        if connection is None:
            return
        with self._lock:
            full = self._unproven >= _MOST_UNPROVEN or (len(self._channels) >= _MOST and not self._end_idle())
            if not full:
                self._unproven += 1
        if full:
            self._turn_away(connection)
            return
        try:
            threading.Thread(target=self._converse, args=(connection,), name="transfer-to", daemon=True).start()
        except (OSError, RuntimeError) as error:  # the system has no more threads
            _log.debug("no thread for a connection: %s", error)
            with self._lock:
                self._unproven -= 1
            self._turn_away(connection)

    def _end_idle(self) -> bool:
        """End the connection that has asked for nothing for longest; False if there is none. The caller has the lock.

        Each process that reads small arrays has one, which it opens again when it needs it. A keeper needs one too.
        """
        longest = next(iter(self._idle), None)
        if longest is None:
            return False
        del self._idle[longest]
        longest.abort()
        return True

    def _turn_away(self, connection: socket.socket) -> None:
        """Close a connection that is one too many. The client is told so, except with TLS, which needs a handshake."""
        with self._lock:
            self.counts.full += 1
        with contextlib.suppress(OSError):
            if self._tls is None:
                connection.settimeout(0)  # so few bytes are sent at once, or not at all
                connection.send(wire.FULL)
        connection.close()

    def _converse(self, connection: socket.socket) -> None:
        channel: Channel | None = None
        try:
            try:
                channel = Channel(connection)
                self._admit(channel)
            finally:
                with self._lock:
                    self._unproven -= 1
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
                if channel is not None:
                    self._channels.discard(channel)
                    self._idle.pop(channel, None)
            if channel is None:
                connection.close()
            else:
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

    def _admit(self, channel: Channel) -> None:
        """Exchange proofs with a client. Raises Lost."""
        with self._lock:
            self._channels.add(channel)
        try:
            proof.admit(channel, self._node, self._secret(), self._tls)
        except Lost as error:
            self._refuse(str(error))
            raise

    def _refuse(self, why: str) -> None:
        with self._lock:
            self.counts.refused += 1
        _log.debug("a connection was refused: %s", why)

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


def accept(listener: socket.socket, pause: float) -> socket.socket | None:
    """The next connection, which is closed in a forked child; None if there is none. After an error, a pause first."""
    try:
        with no_fork():
            return close_in_child(listener.accept()[0])
    except BlockingIOError:
        return None
    except OSError as error:  # the client has gone, or this process has no more descriptors
        _log.debug("no connection: %s", error)
        time.sleep(pause)
        return None


def listen(host: str, ports: Sequence[int]) -> socket.socket:
    """A socket that listens at the first of these ports that is free. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    error: OSError | None = None
    for port in ports:
        with no_fork():
            listener = close_in_child(socket.socket(family, socket.SOCK_STREAM))
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(128)
            listener.setblocking(False)
            return listener
        except OSError as raised:
            listener.close()
            error = raised
    assert error is not None, "no ports"
    raise error
