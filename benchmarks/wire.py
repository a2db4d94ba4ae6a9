"""What a connection on this machine can carry: `sendfile` from one file in memory, received straight into another."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from typing import Any

_BUFFERS = 4 << 20  # bytes


@contextlib.contextmanager
def wire(size: int, streams: int) -> Iterator[Wire]:
    """Two files of so many bytes, and a process that sends the one."""
    folder = "/dev/shm" if sys.platform == "linux" else None
    with tempfile.TemporaryDirectory(prefix="outlive-wire-", dir=folder) as root:
        with open(f"{root}/from", "wb") as file:
            file.writelines(os.urandom(1 << 20) for _ in range(size >> 20))
        context = get_context("spawn")
        told: Any = context.SimpleQueue()
        sender = context.Process(target=_send, args=(f"{root}/from", told), daemon=True)
        sender.start()
        try:
            with open(f"{root}/to", "w+b") as target:
                os.posix_fallocate(target.fileno(), 0, size)
                yield Wire(told.get(), target.fileno(), size, streams)
        finally:
            sender.kill()
            sender.join()


class Wire:
    """From the sender's `port` into a file."""

    def __init__(self, port: int, fd: int, size: int, streams: int) -> None:
        self._port, self._fd, self._size, self._streams = port, fd, size, streams

    def receive(self) -> float:
        """Seconds for all of it, into memory that the file has already and this process has yet to map."""
        begin = time.perf_counter()
        share = self._size // self._streams
        with mmap.mmap(self._fd, self._size, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)) as pages:
            threads = [
                threading.Thread(target=self._stream, args=(memoryview(pages)[at : at + share], at))
                for at in range(0, self._size, share)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            del threads
        return time.perf_counter() - begin

    def _stream(self, into: memoryview, begin: int) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFERS)
            connection.sendall(f"{begin} {len(into)}".ljust(40).encode())
            with into:
                done = 0
                while done < len(into):
                    with into[done : done + _BUFFERS] as part:
                        done += connection.recv_into(part)


def _send(path: str, told: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    told.put(listener.getsockname()[1])
    fd = os.open(path, os.O_RDONLY)

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFERS)
            begin, size = map(int, connection.recv(40, socket.MSG_WAITALL).split())
            end = begin + size
            while begin < end:
                begin += os.sendfile(connection.fileno(), fd, begin, end - begin)

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
