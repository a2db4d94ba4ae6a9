"""What a connection on this machine can carry: `sendfile` from one file in memory, received straight into another.

Either the file is there already, or it is written meanwhile, and what is written goes at once.
"""

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

import numpy as np

_BUFFERS = 4 << 20  # bytes
_REQUEST = 40  # bytes
TAKEN_BACK = 5  # seconds after which the host of a virtual machine has taken back the memory that it does not use


@contextlib.contextmanager
def wire(size: int, streams: int) -> Iterator[Wire]:
    """Two files of so many bytes, and a process that sends the one."""
    folder = "/dev/shm" if sys.platform == "linux" else None
    with tempfile.TemporaryDirectory(prefix="outlive-wire-", dir=folder) as root:
        with open(f"{root}/from", "wb") as file:
            file.writelines(os.urandom(1 << 20) for _ in range(size >> 20))
        context = get_context("spawn")
        told: Any = context.SimpleQueue()
        sender = context.Process(target=_send, args=(f"{root}/from", streams, told), daemon=True)
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

    def receive(self, *, while_written: bool = False, into_new: bool = False) -> float:
        """Seconds for all of it, into memory that the file has already and this process has yet to map.

        `while_written`: from when the sender begins to write what it sends, into memory that it has mapped.
        `into_new`: into memory that the file gets meanwhile, each stream its own, and that nothing used just before: as
        a new cluster gets it.
        """
        if into_new:
            os.ftruncate(self._fd, 0)
            time.sleep(TAKEN_BACK)
        begin = time.perf_counter()
        if into_new:
            os.ftruncate(self._fd, self._size)
        if while_written:
            with socket.create_connection(("127.0.0.1", self._port)) as connection:
                connection.sendall(b"write".ljust(_REQUEST))
                assert connection.recv(1) == b"b"  # it has begun
        share = self._size // self._streams
        at_once = 0 if into_new else getattr(mmap, "MAP_POPULATE", 0)
        with mmap.mmap(self._fd, self._size, flags=mmap.MAP_SHARED | at_once) as pages:
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
            connection.sendall(f"{begin} {len(into)}".ljust(_REQUEST).encode())
            with into:
                done = 0
                while done < len(into):
                    with into[done : done + _BUFFERS] as part:
                        done += connection.recv_into(part)


def _send(path: str, streams: int, told: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    told.put(listener.getsockname()[1])
    fd = os.open(path, os.O_RDWR)
    target = np.frombuffer(mmap.mmap(fd, 0), np.uint8)
    source, share = target.copy(), len(target) // streams
    written = [share] * streams  # bytes of each stream
    more = threading.Condition()

    def write() -> None:
        for at in range(0, share, _BUFFERS):
            for number in range(streams):
                some = slice(number * share + at, number * share + min(share, at + _BUFFERS))
                target[some] = source[some]
                with more:
                    written[number] = min(share, at + _BUFFERS)
                    more.notify_all()

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFERS)
            request = connection.recv(_REQUEST, socket.MSG_WAITALL).split()
            if request == [b"write"]:
                written[:] = [0] * streams
                connection.sendall(b"b")
                write()
                return
            begin, size = map(int, request)
            number, end = begin // share, begin + size
            while begin < end:
                with more:
                    more.wait_for(lambda: number * share + written[number] > begin)  # noqa: B023
                    ready = number * share + written[number]
                begin += os.sendfile(connection.fileno(), fd, begin, ready - begin)

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
