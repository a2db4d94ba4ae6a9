"""Machines of the played cluster, and what the head knows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outlive.node import Node

if TYPE_CHECKING:
    from outlive.testing.simulation.scheduler import Process

EPOCH = 1_700_000_000.0  # the time of day when a world begins, in seconds since 1970


class Host:
    """A machine with its shared memory. Its nodes come one after the other, if Ray is started there again.

    Parameters
    ----------
    name
        The name of its first node.
    root
        The folder in shared memory that has the shelves of all its nodes; empty if it has one node for ever.
    """

    def __init__(self, name: str, root: str) -> None:
        self.name, self.root, self.alive = name, root, True
        self.nodes: list[Machine] = []
        self.crash: int | None = None  # calls of the system after which its next keeper is killed


class Machine:
    """A node of the cluster. Most are the only node of their machine for ever."""

    def __init__(self, name: str, *, is_head: bool, path: str, clock: float = 0.0, host: Host | None = None) -> None:
        self.name, self.is_head, self.path = name, is_head, path
        self.host = Host(name, "") if host is None else host
        self.host.nodes.append(self)
        self.clock = clock  # seconds by which its time of day is ahead
        self.alive = True
        self.known_dead_at: float | None = None  # when the head declared it dead
        self.draining = False
        self.processes: list[Process] = []
        self.processes_started = 0
        self.keeper: Process | None = None  # the process that took the keeper's lock last

    def kill(self, *, spared: Process | None = None) -> None:
        """Kill the node, and all its processes but the one that is stopped, if any."""
        self.alive = False
        for process in self.processes:
            if process is not spared:
                process.kill()

    def as_node(self) -> Node:
        """The head's record of this machine."""
        dead = self.known_dead_at
        return Node(
            id=self.name,
            ip=self.name,
            host=self.name,
            is_head=self.is_head,
            alive=dead is None,
            died_at=None if dead is None else EPOCH + dead,
            death_reason=None if dead is None else "health check failed",
            draining_until=EPOCH + 1e6 if self.draining and dead is None else None,
            object_store_memory=0,
            node_type=None,
        )
