"""A channel: one connection of a process to the keeper's, by a Unix socket. Both are of the same user and machine.

A question and its answer are pickled: only processes of one user can enter the folder of the socket, and both sides
ask the kernel who the other is.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import socket
import struct
from collections.abc import Iterator
from typing import Any

from outlive.arrays.lock import no_fork
from outlive.errors import UnsafeRoot
from outlive.transfer.channel import close_in_child

_LENGTH = struct.Struct("!Q")
_CREDENTIALS = struct.Struct("iII")  # process, user and group: struct ucred, unix(7)
_LONGEST = 100  # bytes of a socket's path: sun_path has 108
_PATIENCE = 20.0  # seconds for a process that listens to take a connection: it may be stopped
_WAITING = 128  # connections that are not accepted yet


class Ended(Exception):
    """The other side is gone. It may have carried out what it was asked for."""


class Channel:
    """An open connection. One thread at a time uses it; a forked child has it closed."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        user = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1]
        if user != os.geteuid():
            self.close()
            raise UnsafeRoot(f"user {user} is at the other end of a local store's socket, not you ({os.geteuid()})")

    def send(self, value: object, seconds: float | None = None) -> None:
        """Send a value. Raises Ended, and whatever pickle raises, before anything is sent.

        TimeoutError: the other side does not take it within so many seconds. Then the channel is of no more use.
        """
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(_LENGTH.pack(len(data)) + data)
            self._socket.settimeout(None)
        except TimeoutError:
            raise
        except OSError as error:
            raise Ended(str(error)) from error

    def receive(self) -> Any:
        """Wait for a value. Raises Ended."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return pickle.loads(self._exactly(length))  # noqa: S301 - the same user's: see above

    def _exactly(self, count: int) -> bytearray:
        data = bytearray(count)
        rest = memoryview(data)
        while rest:
            try:
                got = self._socket.recv_into(rest)
            except OSError as error:
                raise Ended(str(error)) from error
            if not got:
                raise Ended("the connection was closed")
            rest = rest[got:]
        return data

    def is_ready(self, seconds: float) -> bool:
        """Whether something comes within so many seconds: a value, or the end."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def close(self) -> None:
        with no_fork():
            self._socket.close()


def connect(path: str) -> Channel:
    """Connect to the socket at `path`. Raises OSError if nobody listens, or takes connections, and UnsafeRoot."""
    with no_fork():
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        close_in_child(connection)
    try:
        connection.settimeout(_PATIENCE)
        with _short(path) as name:
            connection.connect(name)
        connection.settimeout(None)
        return Channel(connection)
    except BaseException:
        connection.close()
        raise


def listen(path: str) -> socket.socket:
    """Listen at `path`, in place of a process that has ended."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with _short(path) as name:
        listener.bind(name)
    listener.listen(_WAITING)
    return listener


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """A name of `path` that is short enough for a socket."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)
