"""Calls by ports: what stands for the catalog's server of calls and for the line of each process to it.

The rest is real: who may answer and until when (`answering`), and when a call goes through Ray instead (`lines`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from outlive.calls import wire
from outlive.calls.line import Broken, Late, NotMade, NotNow, Raised, Unreachable
from outlive.calls.server import Served
from outlive.testing.simulation import ports
from outlive.testing.simulation.green import Lock
from outlive.testing.simulation.network import Message
from outlive.testing.simulation.ports import Connection, Listening
from outlive.testing.simulation.scheduler import current
from outlive.transfer.channel import Lost
from outlive.transfer.door import Counts

_LOOK = 0.02  # seconds
Answer = tuple[int, Any]  # the kind of a frame, and its value


class PlayedLine:
    """Stands for `outlive.calls.line.Line`."""

    def __init__(self, where: tuple[str, int], *, there: str, **_: object) -> None:
        self.address, self.there, self.worked = where, there, False
        self._idle: list[Connection] = []

    def call(
        self,
        method: str,
        args: Sequence[Any],
        deadline: float,
        pause: Callable[[], float],
        look: Callable[[], None],
    ) -> Any:
        """See `Line.call`."""
        connection = self._take()
        whole = False
        try:
            kind, value = _asked(connection, method, args, deadline, pause, look)
            whole = not connection.broken
        finally:
            if whole:
                self._idle.append(connection)
            else:
                connection.close()
        if kind in (wire.NOT_HERE, wire.NOT_NOW):
            raise (NotMade if kind == wire.NOT_HERE else NotNow)(method)
        if kind == wire.RAISED:
            raise Raised(str(value))
        return value

    def close(self) -> None:
        idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def _take(self) -> Connection:
        while self._idle:
            kept = self._idle.pop()
            if not kept.broken:
                return kept
        try:
            connection = ports.connect(self.address, os.urandom(wire.LINE))
        except Lost as error:
            raise Unreachable(error) from error
        self.worked = True
        return connection


def _asked(
    connection: Connection,
    method: str,
    args: Sequence[Any],
    deadline: float,
    pause: Callable[[], float],
    look: Callable[[], None],
) -> Answer:
    scheduler = current()
    try:
        sent = wire.asked(_body(wire.request(0, method, args)))[1]  # plain data, and a copy
    except wire.TooLong as error:
        raise NotMade(str(error)) from error
    future = connection.send(method, tuple(sent))
    try:
        while not future.done:
            seconds = min(deadline, scheduler.now + pause()) - scheduler.now
            if scheduler.wait([future], 1, max(0.0, seconds)):
                break
            if scheduler.now >= deadline:
                raise Late(method)
            look()
        answer: Answer = ports.told(future)
    except Lost as error:
        raise Broken(connection.line, error) from error
    return answer


class PlayedServer:
    """Stands for `outlive.calls.server.Server`."""

    def __init__(
        self,
        _: str,
        __: Sequence[int],
        *,
        name: str,
        calls: Mapping[str, Served],
        may_answer: Callable[[], bool],
        told: Callable[[Exception], str | None],
        **___: object,
    ) -> None:
        self.name, self._calls, self._may_answer, self._told = name, calls, may_answer, told
        self.counts = Counts()
        self._listening = Listening(name, self._serve, self._greet)
        self.host, self.port = self._listening.host, self._listening.port
        self._of_line: dict[bytes, Connection] = {}
        self._loop = Lock()  # the server's thread, which makes one call at a time

    def close(self) -> None:
        self._listening.end()

    def cut(self, line: bytes, patience: float) -> bool:
        """See `Server.cut`."""
        scheduler = current()
        deadline = scheduler.now + patience
        connection = self._of_line.pop(line, None)
        if connection is None:
            return True
        with self._loop:
            connection.end()
        while connection.under_way and scheduler.now < deadline:
            scheduler.sleep(_LOOK)
        return not connection.under_way

    def _greet(self, connection: Connection) -> None:
        self._of_line[connection.line] = connection

    def _serve(self, connection: Connection, message: Message) -> None:
        served = self._calls[message.method]
        answer: Answer | None = None
        with self._loop:
            if connection.ended:
                return
            if served.crew is None:
                answer = self._answer(served.function, message.args)
            else:
                answer = self._at_once(served, message.args)
        if answer is None and not connection.ended:
            connection.under_way += 1
            try:
                answer = self._answer(served.function, message.args)
            finally:
                connection.under_way -= 1
        if answer is not None:
            self._listening.answer(connection, message, answer)

    def _answer(self, function: Callable[..., Any], args: Sequence[Any]) -> Answer:
        """See `Server._answer`."""
        if not self._may_answer():
            return wire.NOT_NOW, None
        answer = self._made(function, args)
        return answer if self._may_answer() else (wire.NOT_NOW, None)

    def _made(self, function: Callable[..., Any], args: Sequence[Any]) -> Answer:
        try:
            return wire.DONE, _plain(function(*args))
        except Exception as error:  # noqa: BLE001 - the caller is told, or asks through Ray
            text = self._told(error)
            return (wire.NOT_HERE, None) if text is None else (wire.RAISED, text)

    def _at_once(self, served: Served, args: Sequence[Any]) -> Answer | None:
        if served.at_once is None or not self._may_answer():
            return None
        try:
            value = served.at_once(*args)
        except Exception:  # noqa: BLE001 - the crew meets it again
            return None
        if value is None:
            return None
        return (wire.DONE, _plain(value)) if self._may_answer() else (wire.NOT_NOW, None)


def _plain(value: Any) -> Any:
    """A value as it arrives."""
    return wire.value(_body(wire.answer(0, value)))


def _body(frame: bytes) -> bytes:
    return frame[wire.HEAD.size :]
