"""Who has a file locked, or open: asked from outside."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Callable


def can_lock(path: str | os.PathLike[str]) -> bool:
    """Whether nobody holds a lock on this file or folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def assert_no_child_has_it(path: str, open_and_close: Callable[[], object], forks: int) -> None:
    """Fork again and again while four threads open and close the file `path`: no child may have it open."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            open_and_close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(forks):
            pid = os.fork()
            if pid == 0:
                has_it = any(os.path.realpath(f"/proc/self/fd/{fd}") == path for fd in os.listdir("/proc/self/fd"))
                os._exit(has_it)
            assert os.waitpid(pid, 0)[1] == 0, "a child has the file open"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
