"""What a user is told of the nodes, and of a node that was drained."""

from __future__ import annotations

from typing import Literal, NamedTuple

Role = Literal["head", "stays", "may go", "draining", "lost"]


class NodeRow(NamedTuple):
    """A node of the cluster and what its shelf holds."""

    id: str
    host: str
    ip: str
    role: Role
    """`stays`: nothing removes it when idle, or it is one of the autoscaler's `min_workers`. `may go`: an autoscaler
    may remove it. `draining`: it leaves soon. `lost`: it is gone, and was the last to hold an array."""
    arrays: int
    nbytes: int
    only_arrays: int
    """Arrays that live nowhere else; on a lost node those that are lost."""
    only_bytes: int
    stays_because: tuple[str, ...] = ()
    """Why it cannot go now, in plain words; empty if it can, or is gone."""
    until: float | None = None
    """Of a draining node: the Unix time of its end, `math.inf` without a deadline. Of a lost one: when it was lost."""


class Drained(NamedTuple):
    """What came of `outlive.drain`."""

    arrays: int
    """How many were copied elsewhere."""
    nbytes: int
    stayed: str | None
    """Why some of its arrays still live nowhere else; None if all do."""
