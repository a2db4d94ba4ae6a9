"""Departure: this node is about to end, as a pod does, and other nodes are to keep what it keeps before that.

Ray is told that the node drains. So it sends no more work there, and the node's keeper has other nodes keep the arrays
(`evacuation`), also those that are put meanwhile. This process only looks on. It joins no cluster, since Ray ends a
process that has joined together with the raylet, and a raylet that drains ends as soon as it is idle.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from outlive.arrays.layout import LEDGER, MEM, disk_of, is_cached, is_id
from outlive.arrays.root import default_root, names_in
from outlive.errors import BadSetting, StoreUnavailable
from outlive.ray_internals import draining, raylets
from outlive.units import count, format_size

_LOOK_EVERY = 0.2  # seconds
OVER = "the time was over"
_ROOT = "OUTLIVE_ROOT"
_TEMPORARY = "TMPDIR"  # the root is there if there is too little shared memory


class Departure(NamedTuple):
    """The result of a departure."""

    node: str
    arrays: int
    """How many of those that it kept at first are gone from there."""
    nbytes: int
    stayed: str | None
    """Why it still keeps some; None if it keeps none."""


class Here(NamedTuple):
    """The node of this process."""

    id: str
    is_head: bool
    shelf: str
    """The path of its shelf, whether there is one or not."""


def runs_here() -> bool:
    """Whether any raylet runs where this process can see it."""
    return bool(raylets.nodes_here())


def here() -> Here:
    """The node of this cluster whose raylet runs where this process can see it.

    Raises
    ------
    BadSetting
        There are several. Or Ray runs here as another user, or with another OUTLIVE_ROOT or TMPDIR.
    StoreUnavailable
        There is none, or the head does not answer.
    """
    found = raylets.of_cluster_here()
    if len(found) > 1:
        listed = ", ".join(node[:8] for node in found)
        raise BadSetting(f"{len(found)} nodes of the cluster run here: {listed}; `outlive drain NODE` drains one")
    cluster = raylets.session_name()
    if not found or cluster is None:
        raise StoreUnavailable("no living node of the cluster runs here: there is nothing to drain")
    ((node, is_head),) = found.items()
    return Here(node, is_head, f"{_root(node)}/{cluster}/{node}")


def _root(node: str) -> str:
    """The root folder, which has to be that of the node's keeper: nothing would be seen to be kept in another."""
    root, on_disk = default_root()
    pid = raylets.pid_here(node)
    if pid is None:
        return root
    with contextlib.suppress(FileNotFoundError):  # it has ended since
        if (user := os.stat(f"/proc/{pid}").st_uid) != os.geteuid():
            raise BadSetting(
                f"Ray runs here as the user with id {user}, and this command as {os.geteuid()}: they have arrays of "
                "their own. Run it as that user"
            )
    settings = raylets.environment(pid)
    for name in (_ROOT, _TEMPORARY) if on_disk else (_ROOT,):
        ours, theirs = os.environ.get(name), settings.get(name)
        if settings and _path(theirs) != _path(ours):
            raise BadSetting(f"Ray runs here {_with(name, theirs)}, and this command {_with(name, ours)}: set it alike")
    return root


def _path(setting: str | None) -> str | None:
    """The folder that a setting names. One that is empty names none."""
    return os.path.abspath(setting) if setting else None


def _with(name: str, value: str | None) -> str:
    return f"with {name}={value}" if value else f"without {name}"


def depart(node: Here, deadline: float, progress: Callable[[int, int], None]) -> Departure:
    """Have Ray drain this node, and wait until nothing is kept there, until `deadline` by `time.monotonic` at most.

    Parameters
    ----------
    progress
        Called now and then with the bytes that are gone from here, and the bytes that there were.

    Raises
    ------
    StoreUnavailable
        Ray does not drain it.
    """
    first = dict(kept(node.shelf))
    draining.drain(node.id, deadline - time.monotonic())
    return result(node, first, watch(node, deadline, lambda: node.id in raylets.nodes_here(), first, progress))


def watch(
    node: Here,
    deadline: float,
    lives: Callable[[], bool],
    first: dict[str, int],
    progress: Callable[[int, int], None],
) -> str:
    """Look at a shelf until it is gone, its node is, or the time is over; returns why whatever is there stayed."""
    while True:
        lived, over = lives(), time.monotonic() >= deadline  # before the look: what comes after it is not counted on
        now = dict(kept(node.shelf))
        progress(sum(size for array_id, size in first.items() if array_id not in now), sum(first.values()))
        if not os.path.exists(f"{node.shelf}/{LEDGER}"):  # the keeper removes it with the last array
            return "they were put meanwhile"
        if not lived:
            return "Ray ended here"
        if over:
            return OVER
        time.sleep(_LOOK_EVERY)


def result(node: Here, first: dict[str, int], why: str) -> Departure:
    """The result for the arrays that were there at first; `why` some stayed, if so."""
    now = dict(kept(node.shelf))
    gone = [size for array_id, size in first.items() if array_id not in now]
    stayed = f"{count(len(now), 'array')} ({format_size(sum(now.values()))}) stayed: {why}" if now else None
    return Departure(node.id, len(gone), sum(gone), stayed)


def kept(shelf: str) -> Iterator[tuple[str, int]]:
    """The id and the bytes of each array that a shelf keeps: cached copies are left out."""
    for folder in filter(None, (shelf, disk_of(shelf))):
        for name in filter(is_id, names_in(f"{folder}/{MEM}")):
            try:
                found = os.lstat(f"{folder}/{MEM}/{name}")
            except FileNotFoundError:
                continue
            if not is_cached(found.st_mode):
                yield name, found.st_size
