"""The worker command of raylets under OUTLIVE_FORKED: a worker is forked from a process that has its imports.

A worker of Ray spends 0.9 s of CPU on imports, and 0.1 s on the rest of its start; one that uses outlive, 0.2 s more on
imports. Here a job's first worker at a raylet starts a process that imports once, and each worker of this job is forked
from it. Jobs share none: Ray reads the job as it is imported. This process is a child of its raylet, so workers are the
raylet's descendants, as ever, and it ends with the raylet. Nothing but modules is there: no worker has begun, no thread
of Ray runs, nothing of outlive was called. A worker with another Python or environment starts as Ray starts it, and so
does any that nobody forks.
"""

from __future__ import annotations

import _socket  # the module `socket` would cost each start 10 ms
import marshal
import os
import sys
from types import ModuleType
from typing import Any


def main() -> None:
    """Have a worker forked, or become one."""
    if sys.argv[1] == "--serve":
        sys.path[0] = os.path.dirname(sys.argv[3])  # as in a worker of Ray; the folder of tests has names of libraries
        _work(serve(int(sys.argv[2]), sys.argv[3:]))
        return
    raylet = next(word.partition("=")[2] for word in sys.argv if word.startswith("--raylet-name="))
    address = f"{raylet}.forks.{os.environ.get('RAY_JOB_ID', '')}"
    listening = None if os.path.exists(address) else _listen(address)
    if listening is not None:
        os.set_inheritable(listening.fileno(), True)
        os.execv(sys.executable, [sys.executable, __file__, "--serve", str(listening.fileno()), *sys.argv[1:]])
    if not _asked(address):
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


def _listen(address: str) -> _socket.socket | None:
    """A socket at this address, which answers from the moment it is there; None if another one is there already."""
    own, listening = f"{address}.{os.getpid()}", _socket.socket(_socket.AF_UNIX)
    listening.bind(own)
    listening.listen(1000)
    try:
        os.link(own, address)
    except FileExistsError:
        return None
    finally:
        os.unlink(own)
    return listening


def _asked(address: str) -> bool:
    """Whether a worker with the command and the environment of this process has been forked."""
    connection = _socket.socket(_socket.AF_UNIX)
    try:
        connection.connect(address)
        connection.sendall(marshal.dumps((sys.argv[1:], _surroundings())))
        connection.shutdown(_socket.SHUT_WR)
        return connection.recv(1) == b"y"
    except OSError:
        return False


def _surroundings() -> tuple[str, str, dict[str, str]]:
    """What all workers that are forked from one process have in common, the job among it (RAY_JOB_ID)."""
    return sys.executable, os.getcwd(), dict(os.environ)


def _work(command: list[str]) -> None:
    """Run Ray's program for workers, as Python runs the program that it is given."""
    sys.argv = command
    program = sys.modules["__main__"] = ModuleType("__main__")
    program.__file__ = command[0]
    with open(command[0]) as file:
        exec(compile(file.read(), command[0], "exec"), program.__dict__)


def serve(fd: int, first: list[str]) -> list[str]:
    """Fork workers, the first without being asked, until the raylet ends. Returns in each worker, with its command."""
    import gc
    import signal
    import socket

    import numpy as np
    import ray._common.pydantic_compat
    import ray._private.arrow_serialization
    import ray._private.workers.default_worker

    import outlive.cluster.catalog
    import outlive.cluster.keeper

    assert np and ray and outlive
    gc.collect()
    gc.freeze()  # a collection in a worker would copy all memory that it shares with this process
    if leads := os.getpgrp() == os.getpid():  # the raylet kills the group of a worker that has ended: this is in none
        os.setpgid(0, os.getpgid(os.getppid()))
    listening, same = socket.socket(fileno=fd), _surroundings()
    listening.settimeout(1)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no worker stays a zombie
    command = first
    while os.fork():
        command = _wanted(listening, same)
    listening.close()
    if leads:
        os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, before)
    return command


def _wanted(listening: Any, same: tuple[str, str, dict[str, str]]) -> list[str]:
    """The command of the next worker to fork. One that was killed as it asked is left out."""
    import contextlib

    while True:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            if os.getppid() != int(os.environ["RAY_RAYLET_PID"]):
                os._exit(0)
            continue
        with contextlib.suppress(EOFError, OSError), connection, connection.makefile("rb") as file:
            command, surroundings = marshal.load(file)
            connection.sendall(b"y" if surroundings == same else b"n")
            if surroundings == same:
                return command


if __name__ == "__main__":
    main()
