"""A cluster that a program started for itself ends with it, and so do its arrays.

They go at the program's exit. If the program is killed, the next program that looks deletes them: the program held a
lock, which the kernel has released.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os

from outlive.arrays.disk import remove_of_cluster
from outlive.arrays.layout import NEXT, OWNER, PRIVATE
from outlive.arrays.ledger import Ledger
from outlive.arrays.removal import remove_tree

_owned: dict[str, int] = {}  # the folder of each cluster that this process started, and its lock
_ledgers: dict[str, Ledger] = {}  # of its shelf here


def end_with_this_process(root: str, cluster: str, ledger: Ledger) -> None:
    """Delete the cluster's arrays when this process, which started it, ends. `ledger`: of its shelf on this node."""
    folder = f"{root}/{cluster}"
    _ledgers[folder] = ledger
    for earlier in set(_owned) - {folder}:  # ray.shutdown() ended those: else this process could not start another
        os.close(_owned.pop(earlier))
    remove_dead_clusters(root)
    if folder not in _owned:
        fd = os.open(f"{folder}/{OWNER}{NEXT}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
        fcntl.flock(fd, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):  # a signal handler has done the same, with the same file
            os.rename(f"{folder}/{OWNER}{NEXT}", f"{folder}/{OWNER}")  # locked before anyone can find it
        _owned[folder] = fd
        atexit.register(_remove_owned, folder, os.getpid())


def _remove_owned(folder: str, pid: int) -> None:
    if pid == os.getpid():
        _ledgers[folder].end()  # the keeper lives for a moment longer, and does not log the removal as an error
        remove_of_cluster(folder)
        remove_tree(folder)


def remove_dead_clusters(root: str) -> list[str]:
    """Delete the arrays of clusters that a program had started for itself and that ended with it."""
    removed = []
    for name in os.listdir(root):
        try:
            fd = os.open(f"{root}/{name}/{OWNER}", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_of_cluster(f"{root}/{name}")
            remove_tree(f"{root}/{name}")
            removed.append(name)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)
    return removed
