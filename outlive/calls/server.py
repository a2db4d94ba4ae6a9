"""The server of calls: answers clients that have proved to be of the cluster.

One thread has all connections. It makes the calls that never wait. A crew of threads makes the calls that may wait, so
that these hold up no others. If a connection ends, those of its calls that have not begun are dropped.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from outlive.arrays.lock import no_fork
from outlive.calls import wire
from outlive.transfer.channel import Channel, Lost, close_in_child
from outlive.transfer.door import Counts, Door
from outlive.transfer.settings import Tls

_MOST = 4096  # connections; and at most half of the descriptors that this process may have
_MOST_CALLS = 64  # calls of one connection that may be under way
_UNREAD = 1 << 20  # bytes of answers that the other side may leave unread, before its requests are not read either
_AT_ONCE = 1 << 16  # bytes of one system call
_IDLE, _LOOK = 60.0, 5.0  # seconds that a connection may ask for nothing, and seconds between two looks for such ones
_LATER = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_log = logging.getLogger(__name__)


class Served(NamedTuple):
    """A function that may be called."""

    function: Callable[..., Any]
    crew: str | None = None
    """The crew whose threads make the call. None: it never waits, and is made at once."""
    at_once: Callable[..., Any] | None = None
    """Makes the call if that waits for nothing. Else it returns None, and the crew makes the call."""


class Server:
    """Listens at one address, from now until it is closed or this process ends.

    Parameters
    ----------
    host, ports
        The server takes the first of the ports that is free.
    name
        The server's name. A client that looks for another is refused.
    secret
        The cluster's secret.
    calls
        The functions that may be called.
    crews
        The number of threads of each crew.
    may_answer
        Called before and after each call. While it returns false, callers have to ask in another way.
    told
        The text that a caller is to be told of an error. None: the caller asks in another way, and meets the error
        there.
    tls
        None: no TLS.

    Raises
    ------
    OSError
        The server can listen at none of the ports.
    """

    def __init__(
        self,
        host: str,
        ports: Sequence[int],
        *,
        name: str,
        secret: bytes,
        calls: Mapping[str, Served],
        crews: Mapping[str, int],
        may_answer: Callable[[], bool] = lambda: True,
        told: Callable[[Exception], str | None] = lambda _: None,
        tls: Tls | None = None,
    ) -> None:
        self.name, self._calls = name, calls
        self._may_answer, self._told = may_answer, told
        self._crews = {crew: ThreadPoolExecutor(count, f"calls-{crew}") for crew, count in crews.items()}
        self._of_line: dict[bytes, _Connection] = {}
        self._connections: dict[int, _Connection] = {}  # by descriptor; only the loop uses it
        self._changed = threading.Condition()
        self._posted: deque[Callable[[], None]] = deque()
        self._closed = False
        self.made = 0
        """How many calls were answered."""
        self._door = Door(
            host,
            ports,
            name=name,
            secret=lambda: secret,
            most=min(_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2),
            may_end=lambda: any(one.is_idle for one in self._connections.values()),
            end_idle=lambda: self._post(self._end_longest_idle),
            tls=tls,
        )
        self.host, self.port = self._door.host, self._door.port
        with no_fork():
            self._woken, self._wake = map(close_in_child, socket.socketpair())
        for one in (self._woken, self._wake):
            one.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._door.listener, selectors.EVENT_READ, self._take_one)
        self._selector.register(self._woken, selectors.EVENT_READ, self._hear)
        self._thread = threading.Thread(target=self._run, name="calls", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Counts:
        return self._door.counts

    def close(self) -> None:
        """Stop listening, and end all connections. Harmless to repeat."""
        self._closed = True
        self._nudge()
        self._thread.join()
        for crew in self._crews.values():
            crew.shutdown(wait=False, cancel_futures=True)

    def cut(self, line: bytes, patience: float) -> bool:
        """End a connection by its name. True: none of its calls is under way, and none can begin any more.

        Parameters
        ----------
        patience
            Seconds to wait for calls that have begun.
        """
        deadline = time.monotonic() + patience
        with self._changed:
            one = self._of_line.get(line)
        if one is None:
            return True
        self._post(lambda: self._end(one))
        with self._changed:
            return self._changed.wait_for(lambda: line not in self._of_line, deadline - time.monotonic())

    # --- the loop

    def _run(self) -> None:
        look = time.monotonic() + _LOOK
        try:
            while not self._closed:
                for key, mask in self._selector.select(_LOOK):
                    key.data(mask)
                while self._posted:
                    self._posted.popleft()()
                if time.monotonic() >= look:
                    look = time.monotonic() + _LOOK
                    self._end_idle(look - _LOOK - _IDLE)
        except Exception:  # noqa: BLE001 - nobody waits for this thread
            _log.exception("calls go through Ray from here on")
        finally:
            self._closed = True
            for one in list(self._connections.values()):
                self._end(one)
            self._selector.close()
            for other in (self._door.listener, self._woken, self._wake):
                other.close()
            self._door.abort_all()
            while self._posted:  # a caller may be waiting for a cut
                self._posted.popleft()()

    def _post(self, work: Callable[[], None]) -> None:
        """Have the loop do this work."""
        self._posted.append(work)
        self._nudge()

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):  # full, and then the loop wakes anyway; or closed
            self._wake.send(b"\0")

    def _hear(self, _: int) -> None:
        with contextlib.suppress(OSError):
            self._woken.recv(_AT_ONCE)

    def _end_idle(self, since: float) -> None:
        for one in list(self._connections.values()):
            if one.heard < since and not one.under_way and not one.out:
                self._end(one)

    def _end_longest_idle(self) -> None:
        """See `Door`. A request may have come that nobody has read: then the connection is not idle."""
        for one in sorted(self._connections.values(), key=lambda one: one.heard):
            if one.is_idle:
                heard = one.heard
                self._go_on(one, selectors.EVENT_READ)
                if one.heard == heard:
                    self._end(one)  # or it has ended by itself
                    return

    # --- connections

    def _take_one(self, _: int) -> None:
        self._door.take_one(0.01, self._hand_over)

    def _hand_over(self, channel: Channel) -> None:
        """Give a connection to the loop."""
        try:
            channel.keep_alive()
            channel.socket.setblocking(False)
        except OSError as error:
            _log.debug("a connection ended: %s", error)
            self._close(channel)
            return
        self._post(lambda: self._adopt(_Connection(channel)))
        if self._closed:  # the loop may have ended before
            self._close(channel)

    def _close(self, channel: Channel, *, throw_away: bool = True) -> None:
        self._door.left(channel)
        channel.close(throw_away=throw_away)

    def _adopt(self, one: _Connection) -> None:
        if self._closed:
            self._close(one.channel)
            return
        try:
            self._selector.register(one.fd, selectors.EVENT_READ, lambda mask: self._go_on(one, mask))
        except OSError as error:  # the system watches no more descriptors for this user
            _log.debug("a connection ended: %s", error)
            self._close(one.channel)
            return
        self._connections[one.fd] = one
        self._go_on(one, selectors.EVENT_READ)  # TLS may have taken the first request with the proof

    def _go_on(self, one: _Connection, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ and len(one.out) <= _UNREAD:
                for frame in one.receive():
                    self._serve(one, frame)
            self._send(one)
        except (Lost, wire.Malformed, OSError, ValueError) as error:
            _log.debug("a connection ended: %s", error)
            self._end(one)
        except Exception:  # noqa: BLE001 - it ends this connection only
            _log.exception("a connection ended by an error")
            self._end(one)

    def _send(self, one: _Connection) -> None:
        """Send as many bytes of answers as the other side takes now."""
        if one.ended:
            return
        if one.out:
            one.send()
        events = selectors.EVENT_WRITE if one.out else 0
        if len(one.out) <= _UNREAD:
            events |= selectors.EVENT_READ
        if events != one.events:
            one.events = events
            self._selector.modify(one.fd, events, lambda mask: self._go_on(one, mask))

    def _end(self, one: _Connection) -> None:
        """End a connection: none of its calls begins from here on. Harmless to repeat."""
        with self._changed:
            if one.ended:
                return
            one.ended = True
            self._forget(one)
        del self._connections[one.fd]
        self._selector.unregister(one.fd)
        self._close(one.channel, throw_away=not one.is_idle)  # the last answer may be on its way

    def _forget(self, one: _Connection) -> None:
        """Forget the name of an ended connection, if none of its calls is under way. The caller holds the lock."""
        if one.ended and not one.under_way:
            if self._of_line.get(one.line) is one:
                del self._of_line[one.line]
            self._changed.notify_all()

    # --- calls

    def _serve(self, one: _Connection, frame: wire.Frame) -> None:
        """Answer a request, or have a crew answer it. Raises Malformed."""
        method, args = wire.asked(frame.body)
        if not one.line:
            self._name(one, method, args)
            one.out += wire.answer(frame.number, None)
            return
        served = self._calls.get(method)
        if served is None:
            one.out += wire.no_answer(frame.number)
        elif served.crew is None:
            one.out += self._answer(frame.number, served.function, args)
        elif answer := self._at_once(frame.number, served, args):
            one.out += answer
        else:
            self._have_made(served.crew, _Call(one, frame.number, served.function, args))

    def _name(self, one: _Connection, method: str, args: list[Any]) -> None:
        """Take the name of a connection, which is its first request. Raises Malformed."""
        if method != wire.NAME or len(args) != 1 or not isinstance(args[0], bytes) or len(args[0]) != wire.LINE:
            raise wire.Malformed("a connection without a name")
        with self._changed:
            if args[0] in self._of_line:
                raise wire.Malformed("a name that another connection has")
            one.line = args[0]
            self._of_line[one.line] = one

    def _have_made(self, crew: str, call: _Call) -> None:
        """Have a crew make a call. Raises Malformed."""
        one = call.connection
        with self._changed:
            if one.under_way >= _MOST_CALLS:
                raise wire.Malformed("more calls than anyone makes")
            one.under_way += 1
        try:
            self._crews[crew].submit(self._work, call)
        except RuntimeError:  # the system has no more threads; the call is queued all the same
            with self._changed:
                begun, call.is_over = call.is_over, True
                one.under_way -= not begun
            if not begun:
                one.out += wire.no_answer(call.number)

    def _work(self, call: _Call) -> None:
        """Make a call, in a crew's thread."""
        one = call.connection
        with self._changed:
            if call.is_over:
                return
            call.is_over, begins = True, not one.ended
        answer = self._answer(call.number, call.function, call.args) if begins else b""
        with self._changed:
            one.under_way -= 1
            self._forget(one)
        if begins:
            self._post(lambda: self._tell(one, answer))

    def _tell(self, one: _Connection, answer: bytes) -> None:
        if not one.ended:
            one.out += answer
            one.heard = time.monotonic()
            self._go_on(one, 0)

    def _answer(self, number: int, function: Callable[..., Any], args: list[Any]) -> bytes:
        """Make a call, if the server may answer, and the answer: NOT_NOW if by then it may not any more.

        The call may have waited for long before it began. And this process may be stopped in the middle of it: then
        another server has taken over, and the answer is out of date.
        """
        answer = self._made(number, function, args) if self._may_answer() else b""
        return answer if answer and self._may_answer() else wire.no_answer(number, wire.NOT_NOW)

    def _at_once(self, number: int, served: Served, args: list[Any]) -> bytes:
        """Make a call that may wait, if it does not have to, and the answer; empty if a crew has to make it."""
        if served.at_once is None or not self._may_answer():
            return b""
        try:
            value = served.at_once(*args)
            answer = b"" if value is None else wire.answer(number, value)
        except Exception as error:  # noqa: BLE001 - the crew meets it again
            _log.debug("a call failed: %s", error)
            return b""
        self.made += bool(answer)
        return answer if not answer or self._may_answer() else wire.no_answer(number, wire.NOT_NOW)

    def _made(self, number: int, function: Callable[..., Any], args: list[Any]) -> bytes:
        try:
            answer = wire.answer(number, function(*args))
        except Exception as error:  # noqa: BLE001 - the caller is told, or asks in another way, which raises it there
            _log.debug("a call failed: %s", error)
            text = self._told(error)
            answer = wire.no_answer(number) if text is None else wire.raised(number, text)
        self.made += 1
        return answer


class _Call:
    """A call for a crew. `is_over` is changed under the server's lock: a thread has begun it, or nobody will."""

    def __init__(self, connection: _Connection, number: int, function: Callable[..., Any], args: list[Any]) -> None:
        self.connection, self.number, self.function, self.args = connection, number, function, args
        self.is_over = False


class _Connection:
    """A connection whose proof was accepted. `line`, `under_way` and `ended` are changed under the server's lock."""

    def __init__(self, channel: Channel) -> None:
        self.channel, self.fd = channel, channel.socket.fileno()
        self.line = b""
        self.under_way, self.ended = 0, False
        self.out, self.events = bytearray(), selectors.EVENT_READ
        self.heard = time.monotonic()
        self._frames = wire.Frames([wire.ASKED], wire.LONGEST_REQUEST)
        self._secured = isinstance(channel.socket, ssl.SSLSocket)

    @property
    def is_idle(self) -> bool:
        """Whether it could end without harm: it has asked, and nothing is under way. Its process opens it again."""
        return bool(self.line) and not self.under_way and not self.out

    def receive(self) -> list[wire.Frame]:
        """The frames that have come. Raises Lost, Malformed, OSError."""
        found = list[wire.Frame]()
        while True:
            try:
                data = self.channel.socket.recv(_AT_ONCE)
            except _LATER:
                return found
            if not data:
                raise Lost("the connection was closed")
            self.heard = time.monotonic()
            found += self._frames.take(data)
            # TLS may have decrypted more, which the selector does not see.
            if not self._secured or len(found) >= _MOST_CALLS:
                return found

    def send(self) -> None:
        """Send as many bytes as the socket takes. Raises OSError."""
        while self.out:
            try:
                sent = self.channel.socket.send(self.out[:_AT_ONCE])
            except _LATER:
                return
            del self.out[:sent]
