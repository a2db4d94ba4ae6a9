"""Bytes that come from another node, as two threads receive them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from outlive.arrays.draft import Target
from outlive.transfer.wire import PIECE


def fill(target: Target, data: bytes) -> None:
    """Write all of a segment, in pieces of which each thread takes the next."""

    def receive(offset: int) -> None:
        piece = memoryview(data)[offset : offset + PIECE]
        window = target.window(offset, len(piece))
        if window is None:
            target.write(offset, piece)
        else:
            window[:] = piece

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(receive, range(0, len(data), PIECE)))
