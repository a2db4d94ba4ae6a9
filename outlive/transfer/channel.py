"""A channel: one TCP connection, or one of TLS. Everything has a deadline, and a forked child has it closed."""

from __future__ import annotations

import contextlib
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
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what has not been sent is thrown away


class Lost(Exception):
    """The connection broke, or whoever is there does not speak this protocol."""


class Silent(Lost):
    """Nothing came, or nothing went, before the deadline."""


class Channel:
    """A connection that is there. One thread uses it at a time; any may `abort` it.

    `deadline` is a moment of `time.monotonic()`. `patience` is seconds without a single byte.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The sizes of its buffers are the kernel's to choose, up to 4 or 6 MiB: set here, they would stay, and be cut
        # to `net.core.rmem_max`, which is 208 KiB on most machines.

    def secure(self, context: ssl.SSLContext, deadline: float, *, server: bool) -> None:
        """Go on with TLS. Raises Lost."""
        with _explained(), no_fork():
            secured = context.wrap_socket(self.socket, server_side=server, do_handshake_on_connect=False)
            known(secured)
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
        """Send all of `parts`. `more`: something follows at once. Raises Lost."""
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
        """So many bytes. Raises Lost."""
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
        """What has come, as soon as something has; None if nothing has by then. Raises Lost."""
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
        """What TLS has taken, and has not given yet."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def _is_ready(self, event: int, deadline: float) -> bool:
        ready = select.poll()
        ready.register(self.socket.fileno(), event)
        left = deadline - time.monotonic()
        return bool(ready.poll(max(0.0, min(left, _LONGEST_POLL)) * 1000)) or left > _LONGEST_POLL

    def read_into(self, view: memoryview, patience: float) -> None:
        """As many bytes as `view` has. Raises Lost."""
        with _explained():
            self.socket.settimeout(patience)
            while view:
                received = self.socket.recv_into(view, min(len(view), _AT_ONCE))
                if not received:
                    raise Lost("the connection was closed")
                view = view[received:]

    def is_quiet(self) -> bool:
        """Whether it is open and nothing has come that nobody asked for."""
        if self.socket.fileno() < 0:  # it was closed: this is a forked child
            return False
        ready = select.poll()
        ready.register(self.socket.fileno(), select.POLLIN)
        return not ready.poll(0)

    # --- the end

    def abort(self) -> None:
        """Have whoever reads or writes fail at once. For other threads."""
        with contextlib.suppress(OSError, ValueError):
            # `SSLSocket.shutdown` ends TLS first: its other thread would go on in the clear until the connection ends.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self, *, throw_away: bool = False) -> None:
        """Harmless to repeat. `throw_away`: what is still to be sent is not sent."""
        with contextlib.suppress(OSError, ValueError):
            if throw_away:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with contextlib.suppress(OSError):
            self.socket.close()


def connect(address: tuple[str, int], seconds: float) -> Channel:
    """Raises Lost."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with _explained():
        with no_fork():
            made = known(socket.socket(family, socket.SOCK_STREAM))
        try:
            made.settimeout(seconds)
            made.connect(address)
            return Channel(made)
        except BaseException:
            made.close()
            raise


# --- forked children have none of it

_known: set[weakref.ref[Any]] = set()


def known(one: socket.socket) -> socket.socket:
    """A socket that a forked child closes. To be made and told within `no_fork`."""
    _known.add(weakref.ref(one, _known.discard))
    return one


def _close_in_child() -> None:
    for one in living(_known):
        with contextlib.suppress(OSError):
            one.close()
    _known.clear()


os.register_at_fork(after_in_child=_close_in_child)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Silent("it took too long")
    return left


class _explained:  # noqa: N801 - as contextlib's; a generator takes three times as long
    """Errors of the connection are Lost. Those that a signal handler raises stay what they are: they have no errno."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError) and error.errno is None and not str(error).endswith("timed out"):
            return
        if isinstance(error, TimeoutError | BlockingIOError | ssl.SSLWantReadError | ssl.SSLWantWriteError):
            raise Silent("nothing came for too long") from error
        if isinstance(error, OSError):  # ssl.SSLError is one
            raise Lost(error.strerror or str(error) or type(error).__name__) from error
        if isinstance(error, ValueError):  # it was closed meanwhile
            raise Lost("the connection was closed") from error


Checksum = Callable[[Any], int]
"""Of a piece: 32 bits."""
