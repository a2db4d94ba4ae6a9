"""How much shared memory the arrays take: pages of files, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_BLOCK = 512  # bytes, the unit of st_blocks on Linux
_ARENA = "plasma"  # in the name of the file that is Ray's object store


def in_folder(path: str) -> int:
    """Bytes of all files below a folder: a shelf of outlive. A file that goes meanwhile is not counted."""
    return sum(_pages(f"{folder}/{name}") for folder, _, names in os.walk(path) for name in names)


def in_arenas(raylets: Iterable[int]) -> int:
    """Bytes of Ray's object stores, by the pids of their raylets. Their files have no name any more, so ask /proc."""
    found = {}
    for pid in raylets:
        for descriptor in _descriptors(pid):
            try:
                if _ARENA in os.readlink(descriptor):
                    found[os.stat(descriptor).st_ino] = _pages(descriptor)
            except OSError:
                continue
    return sum(found.values())


def _descriptors(pid: int) -> list[str]:
    folder = Path(f"/proc/{pid}/fd")
    try:
        return [str(path) for path in folder.iterdir()]
    except OSError:
        return []


def _pages(path: str) -> int:
    try:
        return os.stat(path).st_blocks * _BLOCK
    except OSError:
        return 0
