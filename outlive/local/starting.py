"""Starting the keeper's process. Of all processes that want one, the first that gets the keeper's lock starts it.

It hands the lock on to the process that it starts, which has it until it ends. So there is one at most.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from outlive.arrays.disk import SETTING as SPILL_TO
from outlive.arrays.lock import OwnedFile, is_at, try_lock
from outlive.arrays.root import private_folder
from outlive.errors import StoreUnavailable
from outlive.local import keeping
from outlive.local.channel import Ended, connect
from outlive.local.jobs import SETTING
from outlive.local.place import Place

_SECONDS = 120.0  # for a keeper to start; a busy machine takes long
_GREETING = 20.0  # seconds for a keeper to say who it is; a busy machine takes long
_LEAST = 3  # the first descriptor that is no standard stream
_AGAIN = 0.01  # seconds between two looks at a keeper that another process is starting


def make_folders(place: Place) -> None:
    """Make the folders in which a store is begun. Raises UnsafeRoot."""
    private_folder(place.root)
    private_folder(place.folder)
    private_folder(place.jobs)


def start(place: Place) -> None:
    """Start the keeper's process, or wait until another process has started it.

    Raises
    ------
    StoreUnavailable
        It does not start. The message has what it said.
    OutliveError
        The error that it met as it started: `StoreFull`, `UnsafeRoot`, `BadSetting`.
    """
    deadline = time.monotonic() + _SECONDS
    while not _listens(place):
        try:
            make_folders(place)
            lock = OwnedFile(place.keeper, os.O_CREAT)
        except FileNotFoundError:  # a keeper that ends removes the folder
            continue
        try:
            if try_lock(lock) and is_at(place.keeper, lock.fileno()):
                _run(place, lock)
                return
        finally:
            lock.close()
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                f"{place.keeper} is locked, but no keeper answers at {place.socket}: it may be stopped. End the "
                "process that locks it (`lslocks` shows which)"
            )
        time.sleep(_AGAIN)


def _listens(place: Place) -> bool:
    """Whether a keeper is there. It says who it is to each process that connects.

    A keeper that was killed can be connected to for a moment, until the kernel has ended all of its threads.
    """
    try:
        channel = connect(place.socket)
    except TimeoutError:  # it is stopped
        return True
    except OSError:
        return False
    with contextlib.closing(channel):
        if channel.is_ready(_GREETING):  # else it is stopped
            with contextlib.suppress(Ended):
                channel.receive()
                return True
            return False
    return True


def _run(place: Place, lock: OwnedFile) -> None:
    """Run the keeper's process, with this lock, until it listens."""
    said, piped = os.pipe2(os.O_CLOEXEC)
    says = held = -1
    try:
        # Where a program has closed its standard streams, these have their numbers, which the process has others for.
        says, held = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LEAST) for fd in (piped, lock.fileno()))
        os.close(piped)
        piped = -1
        fds = held, says
        env = {name: value for name, value in os.environ.items() if name != SETTING}
        if folder := env.get(SPILL_TO):  # the process has another working directory
            env[SPILL_TO] = os.path.abspath(folder)
        command = [sys.executable, str(Path(keeping.__file__)), place.root, *map(str, fds)]
        try:
            started = subprocess.Popen(  # noqa: S603 - our own file
                command,
                pass_fds=fds,
                env=env,
                cwd="/",
                start_new_session=True,  # what interrupts a program at its terminal does not reach it
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=says,
            )
        except OSError as error:  # a program that embeds Python may have no `sys.executable`
            raise StoreUnavailable(
                f"the keeper of {place.folder} did not start: Python is at {sys.executable!r}: {error.strerror}"
            ) from None
        with started as child:
            os.close(says)
            says = -1
            told = _read(said, time.monotonic() + _SECONDS)
            if told is None:
                os.killpg(child.pid, signal.SIGKILL)  # with the keeper's process, which has the lock
            child.wait()  # it has forked the keeper's process, which is nobody's child
    finally:
        for fd in (said, piped, says, held):
            if fd >= 0:
                os.close(fd)
    if told is None:
        raise StoreUnavailable(f"the keeper of {place.folder} did not start within {_SECONDS:.0f} s, and was ended")
    if told.endswith(keeping.OVER):
        _, _, raised = told.removesuffix(keeping.OVER).partition(keeping.FAILED)
        raise pickle.loads(raised)  # noqa: S301 - this process has started it
    if not told.endswith(keeping.READY):
        raise StoreUnavailable(
            f"the keeper of {place.folder} did not start: {told.decode(errors='replace').strip() or 'it said nothing'}"
        )


def _read(fd: int, deadline: float) -> bytes | None:
    """The output of the keeper's process until it is ready, fails or ends. None: it did none of that in time.

    A process that another thread has forked meanwhile may keep the other end of the pipe open.
    """
    found, poll = b"", select.poll()
    poll.register(fd, select.POLLIN)
    while not found.endswith((keeping.READY, keeping.OVER)):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return None
        some = os.read(fd, 4096)
        if not some:
            break
        found += some
    return found
