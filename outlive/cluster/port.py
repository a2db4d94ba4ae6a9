"""The port: all that keeper, catalog, evacuation and fetches ask of others, whatever carries the calls.

`ray_port` has Ray's. The simulation has one of its own, in which answers are late or lost, or come in another order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from outlive.catalog.instructions import PATIENCE, Call
from outlive.errors import StoreUnavailable
from outlive.metrics.watch import Watch
from outlive.node import Autoscaler, Node

__all__ = [
    "AT_A_TIME",
    "BY_LIST",
    "PATIENCE",
    "Call",
    "Failed",
    "Left",
    "NoAnswer",
    "Nobody",
    "Peers",
    "RealTime",
    "in_group",
]

AT_A_TIME = 5_000  # the most arrays in one call of a keeper, which deletes so many in a quarter of a second
BY_LIST = frozenset(
    {"finish", "drop", "forbid", "forget_successors", "keep", "holds", "lacks", "describe", "unsealed", "never_put"}
)
"""Calls whose first argument is a list, and whose answer is a list or None. A long list may be sent in slices."""

Method = TypeVar("Method", bound=Callable[..., Any])


class NoAnswer(StoreUnavailable):
    """The actor that was asked is dead or stopped, or cannot be reached. It may have carried out the call."""


class Nobody(NoAnswer):
    """There is no such keeper, or no catalog."""


class Left(Nobody):
    """The actor that was asked ended for good meanwhile. It may have carried out the call."""


class Failed(StoreUnavailable):
    """The actor that was asked met an error that is not one of outlive's."""


def in_group(name: str) -> Callable[[Method], Method]:
    """Mark an actor's method: the threads of group `name` run it, so it holds up no method of another group."""

    def mark(method: Method) -> Method:
        method.group = name  # type: ignore[attr-defined]
        return method

    return mark


class Peers(Protocol):
    """Keepers, the catalog, the nodes, and what the head remembers. Several threads may call each method."""

    # --- keepers

    def ask(self, calls: Mapping[str, Call], patience: float = PATIENCE) -> dict[str, Any]:
        """Call several keepers at the same time; their answers by node.

        A call that needs only a shelf's files (`ShelfCalls`) may be carried out by another process of the node, or by
        both, in any order. A keeper that is gone for good is looked up anew; see `take_gone`.

        Parameters
        ----------
        calls
            The call of each node. Those in `BY_LIST` are sent in slices of `AT_A_TIME`.
        patience
            Seconds for an answer, or for each slice.

        Returns
        -------
        A node is left out if it dies, if the call raises, or if no answer comes in time. It may have carried out the
        call.
        """

    def ask_keeper(self, node: str, call: Call, patience: float | None = PATIENCE) -> Any:
        """Call one keeper; its answer.

        Parameters
        ----------
        patience
            Seconds. None: as long as the work takes, while the keeper answers other calls. `math.inf`: no limit.

        Raises
        ------
        OutliveError
            The error that the keeper raised; StoreUnavailable if somebody whom it asked did not answer.
        Nobody, Left, NoAnswer, Failed
        """

    def stream(self, node: str, call: Call) -> Iterator[Any]:
        """The parts that a keeper yields, each as soon as it arrives. The keeper is at most a few parts ahead.

        Raises
        ------
        OutliveError
            The error that the keeper raised.
        Nobody, NoAnswer, Failed
            Nobody is raised only before the first part.
        """

    def find_keeper(self, node: str, *, start: bool = False) -> None:
        """Look a node's keeper up anew. With `start`, start one if there is none. Raises Nobody, StoreUnavailable."""

    def keeper_nodes(self) -> list[str]:
        """The nodes that have a keeper. Raises StoreUnavailable."""

    def is_late(self, node: str) -> bool:
        """Whether a node's keeper has owed an answer to `ask` for longer than it may take."""

    def take_gone(self) -> set[str]:
        """The nodes whose keepers `ask` found to be gone for good since the last call of this."""

    def search_shelves(self, node: str) -> None:
        """Have a keeper started on a node if an earlier cluster left a shelf on its machine. Waits for nothing.

        The catalog is told if there is one: see `Catalog.found_shelf`.
        """

    def adopt_here(self) -> None:
        """Have this node's keeper, if it starts now, adopt what dead nodes left on this machine. Waits for 8 s at most.

        It raises nothing.
        """

    # --- the catalog

    def ask_catalog(self, call: Call, patience: float | None = PATIENCE) -> Any:
        """Call the catalog; its answer. Arguments and errors are those of `ask_keeper`."""

    def tell_catalog(self, call: Call) -> None:
        """Call the catalog, and do not wait: the call may get lost. Raises Nobody."""

    def calls_through_ray(self) -> str | None:
        """Why this process's calls of the catalog go through Ray; None if they go by its port. It may try the port."""

    # --- nodes

    def nodes(self) -> list[Node]:
        """All nodes that the head knows, including dead ones, as they are now. Raises StoreUnavailable."""

    def node(self, node: str) -> Node | None:
        """One node as it is now. The cost does not depend on the number of nodes. Raises StoreUnavailable."""

    def busy(self, node: str) -> list[str]:
        """Why a node is not idle, in plain words; empty if it is. Keeper and catalog do not count."""

    def autoscaler(self) -> Autoscaler | None:
        """The autoscaler, which removes idle nodes; None if there is none. Raises StoreUnavailable.

        The catalog is asked, which sees it best. If that does not answer, this is what can be seen from here.
        """

    def jobs_that_ended(self, numbers: set[int]) -> set[int]:
        """The jobs, of these, that have ended. Raises StoreUnavailable."""

    def address(self) -> str:
        """The address of this cluster's head."""

    def leave(self) -> None:
        """End the actor that calls this, for good. With Ray this does not return."""

    # --- what the head remembers, whichever actors die. These raise StoreUnavailable if it does not answer

    def load(self, key: str) -> bytes | None: ...

    def save(self, key: str, value: bytes) -> None: ...

    def save_first(self, key: str, value: bytes) -> bytes:
        """Save `value` if nothing is saved under this key; returns what is saved there then."""

    # --- those who watch

    def watch(self) -> Watch | None:
        """Takes what is measured; None if nobody can."""

    # --- time

    def now(self) -> float:
        """Seconds since some moment; they only go forward."""

    def time(self) -> float:
        """Seconds since 1970."""

    def sleep(self, seconds: float) -> None: ...


class RealTime:
    """The time of the port, as it passes."""

    def now(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
