"""Instructions: what a conversation yields to have it done outside, and which answer it is sent.

A conversation is a generator over the catalog's state. Between two yields it changes the state in one step, and nobody
sees half of a step. Its driver carries out each instruction and sends the answer. Others may change it meanwhile.
The value that a conversation returns is the answer to its caller. An error that is met outside is raised at the yield.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
PATIENCE = 20.0  # seconds for an answer


class Call(NamedTuple):
    """A call of a keeper's method."""

    method: str
    args: tuple[Any, ...] = ()

    @classmethod
    def of(cls, method: str, *args: Any) -> Call:
        return cls(method, args)


@dataclass(frozen=True)
class Ask:
    """Call at least one keeper, all at the same time, each with a call of its own. Answer: their answers, by node.

    A keeper that does not answer is left out. It may have carried out the call, or may do so later.
    """

    calls: Mapping[str, Call]
    patience: float = PATIENCE  # seconds


@dataclass(frozen=True)
class FindKeeper:
    """Look a node's keeper up anew, or start one if there is none. Raises StoreUnavailable if the node is dead."""

    node: str


@dataclass(frozen=True)
class ListKeepers:
    """Answer: the nodes that have a keeper."""


@dataclass(frozen=True)
class TakeGone:
    """Answer: the nodes whose keepers turned out to be gone for good since this was asked last."""


@dataclass(frozen=True)
class WhoIsLate:
    """Answer: the nodes, of these, whose keepers have owed an answer for longer than it may take."""

    nodes: Sequence[str]


@dataclass(frozen=True)
class SearchShelves:
    """Have a keeper started on a node if an earlier cluster left a shelf on its machine. Nobody waits for that."""

    node: str


@dataclass(frozen=True)
class ListNodes:
    """Answer: all `Node`s that the head knows, including dead ones. Raises StoreUnavailable."""


@dataclass(frozen=True)
class Save:
    """Have the head remember a value. Raises whatever error the head raises."""

    key: str
    value: bytes


@dataclass(frozen=True)
class Wait:
    """Wait until a condition holds, as others change the state. Answer: whether it holds."""

    until: Callable[[], bool]
    patience: float | None = None  # seconds; None: no limit


@dataclass(frozen=True)
class Together:
    """Hold conversations in parallel. Answer: their values, in order. Raises the first error, once all have ended."""

    conversations: Sequence[Conversation[Any]]
    crew: str  # the group of threads that carries them out: see `Driver`


@dataclass(frozen=True)
class Start:
    """Start a conversation, and do not wait for its end."""

    conversation: Conversation[Any]
    crew: str = "start"
    """The threads that hold it. Those of one crew do not wait for those of another."""


Instruction = (
    Ask | FindKeeper | ListKeepers | TakeGone | WhoIsLate | SearchShelves | ListNodes | Save | Wait | Together | Start
)
Conversation = Generator[Any, Any, T]
"""A generator that yields `Instruction`s, and is sent their answers."""
