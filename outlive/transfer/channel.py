"""A channel: one connection, by TCP or by TLS. Every wait has a deadline, and a forked child closes it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import struct
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from outlive.arrays.lock import living, no_fork

_AT_ONCE = 4 << 20  # bytes of one system call
_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}  # seconds; ms
_LONGEST_POLL = 3600.0  # seconds
_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_LACKING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: `close` throws away what has not been sent

Checksum = Callable[[Any], int]
"""The checksum of a piece: a number of 32 bits."""


class Lost(Exception):
    """The connection broke, or the other side does not speak this protocol."""


class Silent(Lost):
    """No byte came, or none could be sent, before the deadline."""


class Lacking(Lost):
    """This process has no descriptor, memory or thread for it. That says nothing of the other side."""


class Channel:
    """An open connection. One thread at a time uses it, and any thread may `abort` it.

    A `deadline` is a moment of `time.monotonic()`. A `patience` is how many seconds may pass without a single byte.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel chooses the sizes of the buffers, and lets them grow to 4 or 6 MiB. A size that is set here would
        # be fixed, and no larger than `net.core.rmem_max`, which is 208 KiB on most machines.

    def secure(self, context: ssl.SSLContext, deadline: float, *, server: bool) -> None:
        """Begin TLS on this connection. Raises Lost."""
        with _explained(), no_fork():
            secured = context.wrap_socket(self.socket, server_side=server, do_handshake_on_connect=False)
            close_in_child(secured)
            self.socket = secured
        with _explained():
            secured.settimeout(_left(deadline))
            secured.do_handshake()

    def keep_alive(self) -> None:
        """Have a machine that is gone noticed within some 30 s, while nothing is sent and while something is."""
        for option, value in _ALIVE.items():
            if hasattr(socket, option):
                with contextlib.suppress(OSError):
                    self.socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    # --- out

    def send(self, parts: Sequence[bytes | memoryview], patience: float, *, more: bool = False) -> None:
        """Send all of `parts`. `more` tells the kernel that more follows at once. Raises Lost."""
        with _explained():
            self.socket.settimeout(patience)
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.sendall(b"".join(parts))
                return
            flags = socket.MSG_MORE if more and hasattr(socket, "MSG_MORE") else 0
            rest = [memoryview(part) for part in parts]
            while rest:
                sent = self.socket.sendmsg(rest, (), flags)
                while rest and sent >= len(rest[0]):
                    sent -= len(rest.pop(0))
                if rest:
                    rest[0] = rest[0][sent:]

    # --- in

    def read(self, count: int, deadline: float) -> bytes:
        """Read exactly `count` bytes. Raises Lost."""
        data = bytearray(count)
        view = memoryview(data)
        with _explained():
            while view:
                self.socket.settimeout(_left(deadline))
                received = self.socket.recv_into(view)
                if not received:
                    raise Lost("the connection was closed")
                view = view[received:]
        return bytes(data)

    # --- for a socket that does not block

    def give(self, data: bytes, deadline: float) -> None:
        """Send all of `data`. Raises Lost."""
        rest = memoryview(data)
        with _explained():
            while rest:
                try:
                    rest = rest[self.socket.send(rest) :]
                except _LATER:
                    if not self._is_ready(select.POLLOUT, deadline):
                        raise Silent("nothing went for too long") from None

    def some(self, most: int, deadline: float) -> bytes | None:
        """The bytes that have come, as soon as some have; None if none have by then. Raises Lost."""
        with _explained():
            while True:
                if not self._has_more() and not self._is_ready(select.POLLIN, deadline):
                    return None
                with contextlib.suppress(*_LATER):  # some of TLS came, and none of it is data yet
                    data = self.socket.recv(most)
                    break
        if not data:
            raise Lost("the connection was closed")
        return data

    def _has_more(self) -> bool:
        """Whether TLS has received more than it has given."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def _is_ready(self, event: int, deadline: float) -> bool:
        ready = select.poll()
        ready.register(self.socket.fileno(), event)
        left = deadline - time.monotonic()
        return bool(ready.poll(max(0.0, min(left, _LONGEST_POLL)) * 1000)) or left > _LONGEST_POLL

    def read_into(self, view: memoryview, patience: float) -> None:
        """Fill all of `view`. Raises Lost."""
        with _explained():
            self.socket.settimeout(patience)
            while view:
                received = self.socket.recv_into(view, min(len(view), _AT_ONCE))
                if not received:
                    raise Lost("the connection was closed")
                view = view[received:]

    def is_quiet(self) -> bool:
        """Whether the connection is open, and has nothing to read. Between two exchanges there should be nothing."""
        if self.socket.fileno() < 0:  # closed, as in a forked child
            return False
        ready = select.poll()
        ready.register(self.socket.fileno(), select.POLLIN)
        return not ready.poll(0)

    # --- the end

    def abort(self) -> None:
        """Make the thread that reads or writes here fail at once. For use by another thread."""
        with contextlib.suppress(OSError, ValueError):
            # `SSLSocket.shutdown` would first end TLS: the other thread might go on without it, in clear text.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self, *, throw_away: bool = False) -> None:
        """Close the connection; harmless to repeat. `throw_away`: bytes that are not sent yet are not sent."""
        with contextlib.suppress(OSError, ValueError):
            if throw_away:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with contextlib.suppress(OSError):
            self.socket.close()


def connect(address: tuple[str, int], seconds: float) -> Channel:
    """Open a connection to a host and a port, within so many seconds. Raises Lost."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with _explained():
        with no_fork():
            made = close_in_child(socket.socket(family, socket.SOCK_STREAM))
        try:
            made.settimeout(seconds)
            made.connect(address)
            return Channel(made)
        except BaseException:
            made.close()
            raise


# --- forked children close all sockets

_sockets: set[weakref.ref[Any]] = set()


def close_in_child(one: socket.socket) -> socket.socket:
    """Have a forked child close this socket; returns it. The caller makes the socket in the same `no_fork` block."""
    _sockets.add(weakref.ref(one, _sockets.discard))
    return one


def _close_all() -> None:
    for one in living(_sockets):
        with contextlib.suppress(OSError):
            one.close()
    _sockets.clear()


os.register_at_fork(after_in_child=_close_all)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Silent("it took too long")
    return left


class _explained:  # noqa: N801 - named as those of contextlib; a generator would take three times as long
    """Turn errors of the socket into Lost. Errors of signal handlers stay: these have no errno."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            return
        if isinstance(error, OSError) and error.errno is None and not str(error).endswith("timed out"):
            return
        if isinstance(error, TimeoutError | BlockingIOError | ssl.SSLWantReadError | ssl.SSLWantWriteError):
            raise Silent("nothing came for too long") from error
        if isinstance(error, OSError):  # ssl.SSLError is one
            kind = Lacking if error.errno in _LACKING else Lost
            raise kind(error.strerror or str(error) or type(error).__name__) from error
        if isinstance(error, ValueError):  # it was closed meanwhile
            raise Lost("the connection was closed") from error
