"""A line: the way by which this process calls the server of another.

A call has a connection to itself, which is kept for the next call. No thread reads answers for another thread. So a
fork, or a signal handler that raises, leaves no answer behind. If a call does not end well, its connection is closed.
"""

from __future__ import annotations

import atexit
import functools
import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from outlive.arrays.lock import Mutex, living
from outlive.calls import wire
from outlive.transfer import proof
from outlive.transfer.channel import Channel, Lost, Silent
from outlive.transfer.settings import Tls

_STALLED = 20.0  # seconds to send a request
_MOST = 8  # connections to a server
_KEPT_FOR = 30.0  # seconds; the server ends them after 60
_AT_ONCE = 1 << 16  # bytes of one system call
_CONNECT = 0.2  # seconds: the kernel of a machine that is there answers at once, however busy it is


class NotMade(Exception):
    """The call was not made, or the server has no answer: ask in another way."""


class NotNow(NotMade):
    """The server may not answer. Another may have taken its place."""


class Unreachable(NotMade):
    """The server cannot be reached. `error` says why."""

    def __init__(self, error: Lost) -> None:
        super().__init__(str(error))
        self.error = error


class Broken(Exception):
    """The connection broke before the answer came. The call may have been made, may be under way, or may yet begin.

    Once the server has `cut` the connection, or is dead, the call cannot begin any more.
    """

    def __init__(self, name: bytes, error: Exception) -> None:
        super().__init__(str(error))
        self.name = name
        """The connection's name."""


class Late(Exception):
    """No answer came in time. The call may have been made, or may yet be made."""


class Raised(Exception):
    """The call was made, and raised an error: this is its text."""


class Line:
    """The line to one server. Any thread may use it. A forked child's has no connections.

    Parameters
    ----------
    address
        Host and port.
    here, there
        The names of this process and of the server.
    secret
        The cluster's secret.
    """

    def __init__(
        self, address: tuple[str, int], *, here: str, there: str, secret: bytes, tls: Tls | None = None
    ) -> None:
        self.address, self.there = address, there
        self._reach = functools.partial(
            proof.reach, address, here=here, there=there, secret=secret, tls=tls, within=_CONNECT
        )
        self.worked = False
        """Whether the server has ever accepted a proof."""
        self._idle: list[_Connection] = []
        self._all: set[weakref.ref[_Connection]] = set()
        self._mutex = Mutex()
        _lines.add(weakref.ref(self, _lines.discard))

    def call(
        self,
        method: str,
        args: Sequence[Any],
        deadline: float,
        pause: Callable[[], float],
        look: Callable[[], None],
    ) -> Any:
        """Call a method of the server; returns its answer.

        Parameters
        ----------
        deadline
            A moment of `time.monotonic()`.
        pause, look
            While no answer comes, `look` is called again and again, after so many seconds as `pause` says. If it
            raises, the wait ends.

        Raises
        ------
        NotMade, NotNow, Unreachable, Broken, Late, Raised
        """
        connection = self._take()
        whole = False
        try:
            if connection.channel is None:
                connection.channel = self._connect(connection)
            answer = connection.ask(connection.channel, method, args, deadline, pause, look)
            whole = True
        finally:
            if whole:
                with self._mutex.now:
                    self._idle.append(connection)
            else:
                connection.close()
        if answer.kind in (wire.NOT_HERE, wire.NOT_NOW):
            raise (NotMade if answer.kind == wire.NOT_HERE else NotNow)(method)
        try:
            value = wire.value(answer.body)
        except wire.Malformed as error:
            raise NotMade(str(error)) from error
        if answer.kind == wire.RAISED:
            raise Raised(str(value))
        return value

    def close(self) -> None:
        """Close the connections that are idle."""
        with self._mutex.now:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def _take(self) -> _Connection:
        """A kept connection, or a new one. Raises NotMade."""
        while True:
            with self._mutex.now:
                if self._idle:
                    one = self._idle.pop()
                elif sum(one.is_open for one in living(self._all)) < _MOST:
                    one = _Connection()
                    self._all.add(weakref.ref(one, self._all.discard))
                    return one
                else:
                    raise NotMade("all connections are in use")
            if one.is_good():
                return one
            one.close()

    def _connect(self, one: _Connection) -> Channel:
        """Open a new connection. Raises Unreachable."""
        try:
            channel = self._reach(first=one.introduce)
        except Lost as error:
            raise Unreachable(error) from error
        self.worked = True
        return channel


class _Connection:
    """A connection, for one call at a time."""

    channel: Channel | None = None

    def __init__(self) -> None:
        self._closed = False
        self.name, self._used, self._number = os.urandom(wire.LINE), 0.0, 0
        self._frames = wire.Frames([wire.DONE, wire.NOT_HERE, wire.RAISED, wire.NOT_NOW], wire.LONGEST_ANSWER)
        self._come: list[wire.Frame] = []

    @property
    def is_open(self) -> bool:
        """Whether it is open, or about to be. In a forked child it is not."""
        return not self._closed and (self.channel is None or self.channel.socket.fileno() >= 0)

    def is_good(self) -> bool:
        """Whether it can be used for another call."""
        return self.channel is not None and time.monotonic() < self._used + _KEPT_FOR and self.channel.is_quiet()

    def close(self) -> None:
        """Harmless to repeat."""
        self._closed = True
        if self.channel is not None:
            self.channel.close(throw_away=True)

    def introduce(self, channel: Channel, deadline: float) -> None:
        """Tell the server this connection's name. Raises Lost."""
        channel.keep_alive()
        channel.socket.setblocking(False)
        channel.give(wire.request(0, wire.NAME, [self.name]), deadline)
        if (answer := self._receive(channel, 0, deadline)) is None or answer.kind != wire.DONE:
            raise Silent("it did not take the connection's name")

    def ask(
        self,
        channel: Channel,
        method: str,
        args: Sequence[Any],
        deadline: float,
        pause: Callable[[], float],
        look: Callable[[], None],
    ) -> wire.Frame:
        """See `Line.call`."""
        self._number = (self._number + 1) % (1 << 32)
        try:
            request = wire.request(self._number, method, args)
        except wire.TooLong as error:
            raise NotMade(str(error)) from error
        try:
            channel.give(request, time.monotonic() + _STALLED)
            while True:
                answer = self._receive(channel, self._number, min(deadline, time.monotonic() + pause()))
                if answer is not None:
                    self._used = time.monotonic()
                    return answer
                if time.monotonic() >= deadline:
                    raise Late(method)
                look()
        except Lost as error:
            raise Broken(self.name, error) from error

    def _receive(self, channel: Channel, number: int, deadline: float) -> wire.Frame | None:
        """The answer to this call; None if it has not come by the deadline. Raises Lost."""
        while not self._come:
            data = channel.some(_AT_ONCE, deadline)
            if data is None:
                return None
            try:
                self._come += self._frames.take(data)
            except wire.Malformed as error:
                raise Lost(str(error)) from error
        answer = self._come.pop(0)
        if answer.number != number:
            raise Lost("an answer to another call")
        return answer


_lines: set[weakref.ref[Line]] = set()


@atexit.register
def _close_all() -> None:
    """Close idle connections as the program ends: Python would warn of each, where programs have it warn of files."""
    for line in living(_lines):
        line.close()
