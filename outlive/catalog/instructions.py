"""What a conversation yields: what is to be done for it outside, and what it is sent once that is done.

A conversation is a generator that changes the state between its yields, each time in one step that nobody sees half of.
Whoever drives it carries out what it yields, meanwhile others may change the state, and sends the answer. What a
conversation returns is the answer to whoever began it. An error that is met outside is raised where it yields.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
PATIENCE = 20.0  # seconds for an answer


class Call(NamedTuple):
    """What a keeper is asked."""

    method: str
    args: tuple[Any, ...] = ()

    @classmethod
    def of(cls, method: str, *args: Any) -> Call:
        return cls(method, args)


@dataclass(frozen=True)
class Ask:
    """Keepers, at least one, each its own, all at the same time. Answer: what they answer, by node.

    Who does not answer is left out, and may have made the call, or may make it later.
    """

    calls: Mapping[str, Call]
    patience: float = PATIENCE  # seconds


@dataclass(frozen=True)
class FindKeeper:
    """Look a node's keeper up anew; one is started if there is none. Raises StoreUnavailable if the node is dead."""

    node: str


@dataclass(frozen=True)
class ListKeepers:
    """Answer: the nodes that have a keeper."""


@dataclass(frozen=True)
class TakeGone:
    """Answer: the nodes whose keepers turned out to be gone for good since this was asked."""


@dataclass(frozen=True)
class WhoIsLate:
    """Answer: those of these nodes whose keepers owe an answer for longer than it may take."""

    nodes: Sequence[str]


@dataclass(frozen=True)
class SearchShelves:
    """Have a keeper started on a node if an earlier cluster left a shelf on its machine. Nobody waits for that."""

    node: str


@dataclass(frozen=True)
class ListNodes:
    """Answer: all `Node`s that the head knows, dead ones too. Raises StoreUnavailable."""


@dataclass(frozen=True)
class Save:
    """Have the head remember something. Raises what the head does."""

    key: str
    value: bytes


@dataclass(frozen=True)
class Wait:
    """Until something is so, as others change the state. Answer: whether it is."""

    until: Callable[[], bool]
    patience: float | None = None  # seconds; None: without end


@dataclass(frozen=True)
class Together:
    """Conversations beside each other. Answer: theirs, in this order. Raises the first error, once all have ended."""

    conversations: Sequence[Conversation[Any]]
    crew: str  # whose threads take them up: see `Driver`


@dataclass(frozen=True)
class Start:
    """A conversation whose end nobody waits for."""

    conversation: Conversation[Any]


Instruction = (
    Ask | FindKeeper | ListKeepers | TakeGone | WhoIsLate | SearchShelves | ListNodes | Save | Wait | Together | Start
)
Conversation = Generator[Any, Any, T]
"""It yields `Instruction`s, and is sent their answers."""
