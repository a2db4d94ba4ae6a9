"""A server of files in a folder, and links to it, over loopback and without Ray."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from outlive.arrays.lock import OwnedFile
from outlive.transfer import wire
from outlive.transfer.client import Link
from outlive.transfer.server import Gone, Opened, Server

SECRET = b"s" * 32
MIB = 1 << 20


class Files:
    """What a server serves: files that are named by the ids of arrays."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[wire.Request]()

    def add(self, size: int, number: int = 1) -> tuple[str, bytes]:
        array_id, data = f"{number:032x}", os.urandom(min(size, MIB)) * (size // MIB + 1)
        (self.folder / array_id).write_bytes(data[:size])
        return array_id, data[:size]

    def opened(self, request: wire.Request) -> Opened:
        self.asked.append(request)
        try:
            file = OwnedFile(str(self.folder / request.array_id), access=os.O_RDONLY)
        except FileNotFoundError:
            raise Gone(request.array_id) from None
        size = os.fstat(file.fileno()).st_size
        return Opened(file, request.begin, min(request.end, size), request.array_id.encode())

    def answered(self, question: bytes) -> bytes:
        return question[::-1]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def start_server(files: Files) -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def start(**options: Any) -> Server:
            given: dict[str, Any] = {
                "node": "there",
                "secret": lambda: SECRET,
                "opened": files.opened,
                "answered": files.answered,
            }
            made = Server("127.0.0.1", options.pop("ports", (0,)), **given | {"checksum": zlib.crc32} | options)
            stack.callback(made.close)
            return made

        yield start


def link_to(server: Server, **options: Any) -> Link:
    given: dict[str, Any] = {"here": "here", "there": "there", "secret": SECRET, "checksum": zlib.crc32}
    return Link((server.host, server.port), **given | options)
