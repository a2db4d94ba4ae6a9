"""Transfers by ports: what stands for the keepers' transfer servers, and for the links of processes to them.

The rest is real: what a keeper opens and answers (`serving`), which way an array comes (`links`), and the copies that
readers make by themselves (`own_copies`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgpack  # type: ignore[import-untyped]

from outlive.testing.simulation import ports
from outlive.testing.simulation.network import Message
from outlive.testing.simulation.ports import Connection, Listening
from outlive.testing.simulation.scheduler import current
from outlive.transfer import wire
from outlive.transfer.channel import Lost, Silent
from outlive.transfer.client import NotServed, Sink, Unserved
from outlive.transfer.door import Counts
from outlive.transfer.server import Gone, Opened

T = TypeVar("T")
_SEND = "send"  # the request for files, under the name that it has through Ray
_ANSWER = 5.0  # seconds


class _File(NamedTuple):
    """An answer to a request for a file."""

    status: int
    head: bytes = b""
    data: bytes = b""


class PlayedServer:
    """Stands for `outlive.transfer.server.Server`."""

    def __init__(
        self,
        _: str,
        __: Sequence[int],
        *,
        node: str,
        opened: Callable[[wire.Request], Opened],
        answered: Callable[[bytes], bytes],
        **___: object,
    ) -> None:
        self._opened, self._answered, self.counts = opened, answered, Counts()
        self._listening = Listening(node, self._serve)
        self.host, self.port = self._listening.host, self._listening.port

    @property
    def listens(self) -> bool:
        return not self._listening.ended

    def close(self) -> None:
        self._listening.end()

    def _serve(self, connection: Connection, message: Message) -> None:
        if message.method == _SEND:
            answer: Any = [self._file(request) for request in message.args]
        else:
            answer = self._answer(*message.args)
        self._listening.answer(connection, message, answer)

    def _file(self, request: wire.Request) -> _File:
        try:
            opened = self._opened(request)
        except Gone:
            return _File(wire.GONE)
        except Exception:  # noqa: BLE001 - the client asks through Ray, which raises it there
            return _File(wire.FAILED)
        try:
            _step()  # the array may be deleted, and its file recycled if nothing protected it
            return _File(wire.OK, opened.head, os.pread(opened.file.fileno(), opened.end - opened.begin, opened.begin))
        finally:
            opened.file.close()

    def _answer(self, question: bytes) -> bytes | None:
        try:
            return self._answered(question)
        except Exception:  # noqa: BLE001 - as above
            return None


class PlayedLink:
    """Stands for `outlive.transfer.client.Link`."""

    def __init__(self, where: tuple[str, int], *, on_work: Callable[[], None] = lambda: None, **_: object) -> None:
        self.address, self.worked, self._on_work = where, False, on_work
        self.began_at = self.worked_at = 0
        self._idle: list[Connection] = []

    def read(
        self, array_id: str, begin: int, end: int, target: Callable[[bytes, int], Sink], **options: int | bool
    ) -> None:
        """See `Link.read`. The connection may break when the sink has half of the bytes."""
        connection, (file,) = self._exchange(
            _SEND,
            wire.Request(array_id, begin, end, **options),  # type: ignore[arg-type]
        )
        _see(file, array_id)
        if end not in {wire.WHOLE, begin + len(file.data)}:
            raise Lost(f"{len(file.data)} bytes instead of {end - begin}")
        sink, half = target(file.head, len(file.data)), len(file.data) // 2
        _fill(sink, 0, file.data[:half])
        _step()
        if connection.broken:
            raise Lost("the connection broke")
        _fill(sink, half, file.data[half:])
        self._put_back(connection)

    def read_each(
        self, array_ids: Sequence[str], told: Callable[[str, bytes, int], T], **options: int | bool
    ) -> Iterator[tuple[T, bytes] | None]:
        """See `Link.read_each`."""
        requests = [wire.Request(array_id, 0, wire.WHOLE, **options) for array_id in array_ids]  # type: ignore[arg-type]
        connection, files = self._exchange(_SEND, *requests)
        for array_id, file in zip(array_ids, files, strict=True):
            if file.status == wire.GONE:
                yield None
                continue
            _see(file, array_id)
            said = told(array_id, file.head, len(file.data))
            _step()
            if connection.broken:
                raise Lost("the connection broke")
            yield said, file.data
        self._put_back(connection)

    def ask(self, question: bytes, patience: float) -> bytes:
        """See `Link.ask`."""
        method = msgpack.unpackb(question, unicode_errors="surrogatepass")[0]
        connection, answer = self._exchange(method, question, patience=patience)
        self._put_back(connection)
        if answer is None:
            raise NotServed("the server has no answer")
        found: bytes = answer
        return found

    def close(self) -> None:
        idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    close_old = close

    def _exchange(self, method: str, *args: Any, patience: float = _ANSWER) -> tuple[Connection, Any]:
        """Send a request, and wait for the answer. If a kept connection has ended meanwhile, another is made."""
        self.began_at = _uptime()
        while True:
            kept = next((one for one in self._idle if not one.broken), None)
            self._idle.clear()
            connection = kept or ports.connect(self.address)
            self.worked = True
            try:
                return connection, ports.told(connection.send(method, args), patience)
            except Silent:
                connection.close()
                raise
            except Lost:
                connection.close()
                if kept is None:
                    raise

    def _put_back(self, connection: Connection) -> None:
        self._idle.append(connection)
        self.worked_at = _uptime()
        self._on_work()


def _see(file: _File, array_id: str) -> None:
    if file.status == wire.GONE:
        raise NotServed(array_id)
    if file.status != wire.OK:
        raise Unserved(f"the server cannot read array {array_id}")


def _fill(sink: Sink, offset: int, data: bytes) -> None:
    window = sink.window(offset, len(data))
    if window is None:
        sink.write(offset, memoryview(data))
    else:
        window[:] = data


def _step() -> None:
    current().step()


def _uptime() -> int:
    return int(current().now * 1e9)
