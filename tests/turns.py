"""Test files that would take each other's ports take turns, whichever process runs them."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_mine = 0


@contextmanager
def ray_client_server() -> Iterator[None]:
    """Only one process at a time has clusters that Ray Clients come to.

    Each server gives the servers of its clients the first free ports from 23000 on, and these take them seconds later:
    two servers on one machine can give away the same port.
    """
    global _mine
    if _mine:
        yield
        return
    with (Path(tempfile.gettempdir()) / "outlive-test-ray-client").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _mine += 1
        try:
            yield
        finally:
            _mine -= 1
