"""What the system calls alone take that any program needs which keeps arrays as files: a limit for outlive."""

from __future__ import annotations

import fcntl
import mmap
import os
import statistics
import tempfile
import time

_ROUNDS = 100
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def reading(nbytes: int) -> float:
    """Seconds to open a file, lock it, ask for its size, map it, unmap it and close it. Nothing is read."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="outlive-bench-") as file:
        file.truncate(nbytes)
        samples = []
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            fd = os.open(file.name, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_SH)
            with mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ):
                pass
            os.close(fd)
            samples.append(time.perf_counter() - begin)
    return statistics.median(samples)


def writing(nbytes: int) -> list[float]:
    """Seconds to open a file and lock it, to make another, write and close it, rename it, and close the first. All
    samples.
    """
    samples, content = [], bytes(nbytes)
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="outlive-bench-") as folder:
        names = [(f"{folder}/new-{number}", f"{folder}/{number}") for number in range(_ROUNDS)]
        with open(f"{folder}/ledger", "wb"):
            pass
        for draft, name in names:
            begin = time.perf_counter()
            ledger = os.open(f"{folder}/ledger", os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(ledger, fcntl.LOCK_EX)
            fd = os.open(draft, _CREATE, 0o600)
            os.write(fd, content)
            os.close(fd)
            os.rename(draft, name)
            os.close(ledger)
            samples.append(time.perf_counter() - begin)
    return samples
