"""Failures: the servers of other nodes that a process of this node could not reach. All its processes know of them.

Each is a link in a folder of the shelf: named as the other node, it leads nowhere, and its text says what happened. A
link is made in one step, with its text. So a process that is killed leaves a failure, or none. Where none can be noted,
as no file has room, each process finds out for itself.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import NamedTuple

from outlive.arrays.clock import uptime
from outlive.arrays.layout import FOLDER_MODE
from outlive.arrays.limits import is_of_handler

_LONGEST = 3600 * 10**9  # nanoseconds: a longer pause was written by somebody else, or before the machine started
_FORGOTTEN = 600 * 10**9  # nanoseconds, after its pause, until a failure is forgotten that nobody found again
_MOST_TEXT = 300  # characters


class Failure(NamedTuple):
    """A failure. Its times are by `uptime`."""

    began: int  # the moment at which the try began that failed
    until: int  # the moment from which on a process tries again
    pause: float  # the seconds until then, as they were when it failed
    server: str  # the address and process: a server that has started anew is another
    why: str

    def stands(self) -> bool:
        """Whether nobody is to try now."""
        return uptime() < self.until


_KINDS = (int, int, float, str, str)


class Failures:
    """The failures in a folder, which is made when it is needed. Any process and thread may use it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def of(self, node: str) -> Failure | None:
        """The failure of a node's server; None if none is known."""
        try:
            failure = Failure(*json.loads(os.readlink(f"{self._folder}/{node}")))
        except (OSError, ValueError, TypeError, RecursionError) as error:  # there is none, or not one of this version
            if is_of_handler(error):
                raise
            return None
        now = uptime()
        whole = all(map(isinstance, failure, _KINDS)) and failure.began <= now and failure.until <= now + _LONGEST
        return failure if whole else None

    def note(self, node: str, failure: Failure) -> None:
        """Note a failure in place of the one before. Between the two, others may find none, and try."""
        text = json.dumps(failure._replace(why=failure.why[:_MOST_TEXT]))
        self.forget(node)
        with _if_possible():
            try:
                os.symlink(text, f"{self._folder}/{node}")
            except FileNotFoundError:  # it is the first one
                os.mkdir(self._folder, FOLDER_MODE)
                os.symlink(text, f"{self._folder}/{node}")

    def forget(self, node: str) -> None:
        """Note that a node's server works, if it is said to have failed."""
        with _if_possible():
            os.unlink(f"{self._folder}/{node}")

    def all(self) -> dict[str, Failure]:
        """The failures by node. Those that are too old are forgotten: their nodes are gone, as a rule."""
        found, nodes = dict[str, Failure](), list[str]()
        with _if_possible():
            nodes = os.listdir(self._folder)
        for node in nodes:
            failure = self.of(node)
            if failure is not None and uptime() < failure.until + _FORGOTTEN:
                found[node] = failure
            else:
                self.forget(node)
        return found


@contextlib.contextmanager
def _if_possible() -> Iterator[None]:
    """Do without what the system refuses. An error of a signal handler reaches the caller."""
    try:
        yield
    except OSError as error:
        if is_of_handler(error):
            raise
