"""The played cluster as its parts see it: the interface for processes, actors, clients and the judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from outlive.cluster.port import Call
    from outlive.testing.history import Operation
    from outlive.testing.simulation.handles import Handles, Scoped
    from outlive.testing.simulation.lifetimes import Lifetimes
    from outlive.testing.simulation.machines import Machine
    from outlive.testing.simulation.network import Actor, Network
    from outlive.testing.simulation.plan import Client, Plan
    from outlive.testing.simulation.rounds import Rounds
    from outlive.testing.simulation.scheduler import Future, Process, Scheduler


class PlayedCluster(Protocol):
    """`cluster.Cluster` implements this. It makes its parts, so they know only this interface."""

    plan: Plan
    scheduler: Scheduler
    network: Network
    machines: dict[str, Machine]
    remembered: dict[str, bytes]
    history: list[Operation]
    batches: list[list[int]]
    seen_together: list[list[int]]
    handles: Handles
    lifetimes: Lifetimes
    ended: set[str]
    violations: list[str]
    fewer: set[int]
    processes: dict[str, Process]
    ticks: int
    rounds: Rounds

    @property
    def works(self) -> Mapping[str, Any]:
        """By name of a client: its `Works`."""

    @property
    def faults(self) -> Any:
        """The `Faults` of its plan."""

    @property
    def is_broken(self) -> bool:
        """Whether something is violated."""

    def start(self, client: Client) -> None:
        """Start a client's process."""

    def rest_of_clients(self, machine: Machine) -> list[Client]:
        """The clients of a dead node, with what they did not begin."""

    def at(self, name: str) -> Machine | None:
        """The node that a plan means by this name: the latest on that node's machine."""

    @property
    def restarts(self) -> Any:
        """The `Restarts` of its machines."""

    def is_done(self) -> bool:
        """Whether no client works any more, or something is violated."""

    @property
    def catalog(self) -> Any:
        """The `PlayedCatalog` that answers now; None while it starts."""

    def tick(self) -> int:
        """The next moment of the history."""

    def say(self, process: Process | None, what: str) -> None:
        """Add to the trace."""

    def violated(self, what: str) -> None:
        """Add to the violations."""

    def note_unexpected(self, process: Process, error: BaseException) -> None:
        """Record that an actor raised an error that is not outlive's."""

    def end_scope(self, scoped: Scoped) -> None:
        """Record that arrays of this scope may be gone from here on."""

    def has_session(self, session: Any) -> None:
        """Note a client's new `PlayedSession`."""

    def start_keeper(self, machine: Machine) -> Actor:
        """Start a machine's keeper, unless it has one."""

    def ask_shelf(self, node: str, call: Call) -> Future:
        """Have another process of a node make a call that needs the shelf's files alone."""

    def end_actor_of(self, process: Process) -> None:
        """End the actor of this process, for good."""

    def rounds_of(self, process: Process, work: Callable[[], None], soon: Callable[[], bool] = ...) -> None:
        """Repeat `work`, as an actor's thread does. If `soon`, the next time is within a second, as it really is."""
