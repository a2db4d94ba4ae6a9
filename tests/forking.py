"""Children by `os.fork` alone, whose ends are looked at.

Those of multiprocessing died of SIGSEGV before they did anything, under Python 3.13, where Ray, grpc and pyarrow had
been loaded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable

from tests.conftest import eventually


def forked(work: Callable[[], object]) -> int:
    """A child that does `work`, and exits with 0, or with 1 if it raises; its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(pid: int, seconds: float = 60) -> int:
    """How a child ends: its exit code, or minus the signal that kills it. One that does not end fails the test."""
    status = 0

    def is_over() -> bool:
        nonlocal status
        found, status = os.waitpid(pid, os.WNOHANG)
        return bool(found)

    try:
        eventually(is_over, seconds)
    except BaseException:
        kill(pid)
        raise
    return os.waitstatus_to_exitcode(status)


def kill(pid: int) -> None:
    """Kill a child, if nobody has waited for its end yet."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
