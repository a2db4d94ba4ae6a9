"""Questions, and what a channel says first."""

from __future__ import annotations

from typing import NamedTuple

from outlive.cluster.port import Call

KEEPER, CATALOG = "keeper", "catalog"


class About(NamedTuple):
    """The keeper's process: it says so first, on each connection."""

    protocol: int
    pid: int
    node: str
    shelf: str  # the path


class Question(NamedTuple):
    """A call of keeper or catalog."""

    whom: str
    call: Call
    is_told: bool = False
    """Nobody waits for an answer, and none comes."""
