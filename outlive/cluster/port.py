"""The port: all that keeper, catalog, evacuation and fetches ask of others, without a word of how they are reached.

Ray's is in `ray_port`. A simulation has one of its own, in which answers are late, lost, or come in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from outlive.catalog.instructions import PATIENCE, Call
from outlive.errors import StoreUnavailable
from outlive.node import Autoscaler, Node

__all__ = ["AT_A_TIME", "BY_LIST", "PATIENCE", "Call", "Failed", "Left", "NoAnswer", "Nobody", "Peers", "in_group"]

AT_A_TIME = 5_000  # arrays that a keeper is asked about in one call: it deletes as many in a quarter of a second
BY_LIST = frozenset({"finish", "drop", "forbid", "keep", "holds", "describe"})
"""Calls that begin with a list, and answer with one, or with None: a long list may be asked about in slices."""

Method = TypeVar("Method", bound=Callable[..., Any])


class NoAnswer(StoreUnavailable):
    """Who was asked is dead, stopped, or cannot be reached. The call may have been made all the same."""


class Nobody(NoAnswer):
    """No such keeper, or no catalog, is there to be asked."""


class Left(Nobody):
    """The keeper, or the catalog, ended for good as it was asked. The call may have been made all the same."""


class Failed(StoreUnavailable):
    """Who was asked met an error that is not outlive's own."""


def in_group(name: str) -> Callable[[Method], Method]:
    """A method of an actor that threads of their own make, so that it holds up no method of another group."""

    def mark(method: Method) -> Method:
        method.group = name  # type: ignore[attr-defined]
        return method

    return mark


class Peers(Protocol):
    """Keepers, the catalog, the nodes, and what the head remembers. Every method may be called by several threads."""

    # --- keepers

    def ask(self, calls: Mapping[str, Call], patience: float = PATIENCE) -> dict[str, Any]:
        """What keepers answer, by node; all are asked at the same time.

        What only needs a shelf's files (`ShelfCalls`) may be done by another process of the node instead, and by both,
        in any order. A keeper that is gone for good is looked up anew; see `take_gone`.

        Parameters
        ----------
        calls
            By node. Calls that begin with a list are asked in slices of `AT_A_TIME`, see `BY_LIST`.
        patience
            Seconds for an answer; for each slice, if there are several.

        Returns
        -------
        Left out are those whose nodes die, whose calls raise, and who do not answer in time: whether they made the
        call nobody knows.
        """

    def ask_keeper(self, node: str, call: Call, patience: float | None = PATIENCE) -> Any:
        """What one keeper itself answers.

        Parameters
        ----------
        patience
            Seconds. None: as long as the work takes, while the keeper answers other calls. `math.inf`: without end.

        Raises
        ------
        OutliveError
            What the keeper raised; a plain StoreUnavailable if it had no answer from others.
        Nobody, Left, NoAnswer, Failed
        """

    def stream(self, node: str, call: Call) -> Iterator[Any]:
        """The parts that a keeper yields, each as soon as it is here. The keeper is a few parts ahead.

        Raises
        ------
        OutliveError
            What the keeper raised.
        Nobody, NoAnswer, Failed
            Nobody before the first part alone.
        """

    def find_keeper(self, node: str, *, start: bool = False) -> None:
        """Look a node's keeper up anew, and start it if it has none and `start` is given. Raises Nobody."""

    def keeper_nodes(self) -> list[str]:
        """The nodes that have a keeper."""

    def is_late(self, node: str) -> bool:
        """Whether a node's keeper owes an answer to `ask` for longer than it may take."""

    def take_gone(self) -> set[str]:
        """The nodes whose keepers turned out to be gone for good since this was asked: `ask` noticed it."""

    def search_shelves(self, node: str) -> None:
        """Have a keeper started on a node if an earlier cluster left a shelf on its machine. Waits for nothing."""

    # --- the catalog

    def ask_catalog(self, call: Call, patience: float | None = PATIENCE) -> Any:
        """What the catalog answers. As `ask_keeper`."""

    def tell_catalog(self, call: Call) -> None:
        """Have the catalog do something, and wait for nothing: it may not hear of it. Raises Nobody."""

    # --- nodes

    def nodes(self) -> list[Node]:
        """All nodes that the head knows, dead ones too, as of now. Raises StoreUnavailable."""

    def node(self, node: str) -> Node | None:
        """One of them, as of now: what this costs does not depend on how many there are. Raises StoreUnavailable."""

    def busy(self, node: str) -> list[str]:
        """Why a node is not idle, keeper and catalog left out, in plain words; empty if it is."""

    def autoscaler(self) -> Autoscaler | None:
        """What removes idle nodes, None if nothing does."""

    def jobs_that_ended(self, numbers: set[int]) -> set[int]:
        """Which of these jobs have ended."""

    def address(self) -> str:
        """That of this cluster's head."""

    def leave(self) -> None:
        """End the actor that calls this, for good. Ray's does not return."""

    # --- what the head remembers, whoever dies

    def load(self, key: str) -> bytes | None: ...

    def save(self, key: str, value: bytes) -> None: ...

    def save_first(self, key: str, value: bytes) -> bytes:
        """Have `value` remembered unless something is; returns what is remembered from now on."""

    # --- time

    def now(self) -> float:
        """Seconds that only go forward, since some moment."""

    def time(self) -> float:
        """Seconds since 1970."""

    def sleep(self, seconds: float) -> None: ...
