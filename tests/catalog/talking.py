"""Conversations without anybody: who is asked answers from a dict, or when the test says so."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from outlive.arrays.info import ArrayInfo
from outlive.catalog.instructions import (
    Ask,
    Conversation,
    FindKeeper,
    ListKeepers,
    ListNodes,
    Save,
    SearchShelves,
    Start,
    TakeGone,
    Together,
    Wait,
    WhoIsLate,
)
from outlive.catalog.state import Outside, State
from outlive.catalog.wire import Listed, pack_listed
from outlive.node import Node

T = TypeVar("T")
Answers = Mapping[tuple[str, str], Any]


def node(name: str, *, alive: bool = True, draining: bool = False) -> Node:
    """`a` is the head."""
    return Node(name, name, name, name == "a", alive, None, None, 1.0 if draining else None, 0, None)


def info(version: int, key: str | None = "k", *, replicas: int = 1, size: int = 4096) -> ArrayInfo:
    return ArrayInfo(f"{version:032x}", "s", key, "'|u1'", (0,), False, 64, 0, size, version, replicas=replicas)


def listing(epoch: int, *listed: Listed) -> tuple[int, bytes, None]:
    return epoch, pack_listed(listed), None


class World:
    """Nodes, and what their keepers answer.

    Parameters
    ----------
    answers
        By node and method: an answer, or a function of the arguments. Who has none does not answer.
    """

    def __init__(self, nodes: Iterable[str] = "abc", answers: Answers | None = None) -> None:
        self.nodes = {name: node(name) for name in nodes}
        self.answers: dict[tuple[str, str], Any] = {
            **{(name, "listing_part"): listing(1) for name in self.nodes},
            **{(name, "room"): 1 << 30 for name in self.nodes},
            **(answers or {}),
        }
        self.late, self.gone, self.saved = set[str](), set[str](), dict[str, bytes]()
        self.asked: list[tuple[str, str, tuple[Any, ...]]] = []
        self.searched: list[str] = []
        self.keeperless: set[str] = set()  # nodes whose keepers are gone for good
        self.clock = 0.0
        self.state = State(Outside(lambda: self.clock, lambda: 1000 + self.clock, random.Random(0)))

    def know(self, *nodes: str) -> State:
        """Shelves with nothing on them are listed."""
        self.state.nodes = dict(self.nodes)
        for name in nodes or self.nodes:
            self.state.epochs[name] = 1
            self.state.known.add(name)
            self.state.shelves.add(name)
        return self.state

    def kill(self, name: str) -> None:
        self.nodes[name] = node(name, alive=False)
        self.state.nodes = dict(self.nodes)

    def run(self, conversation: Conversation[T]) -> T:
        """All of it: whoever is asked answers at once."""
        talk = Talk(self, conversation)
        self.finish(talk)
        value: T = talk.value
        return value

    def finish(self, talk: Talk) -> None:
        """The rest of a conversation: whoever is asked answers at once."""
        while not talk.over:
            talk.answer(self.carry_out(talk.instruction))

    def carry_out(self, instruction: Any) -> Any:
        match instruction:
            case Ask():
                self.state.validate_ask(instruction)
                return {name: one for name, call in instruction.calls.items() for one in self._said(name, *call)}
            case Wait():
                assert instruction.until() or instruction.patience is not None, "it would wait for ever"
                return instruction.until()
            case Together():
                return [self.run(one) for one in instruction.conversations]
            case Start():
                self.run(instruction.conversation)
            case ListNodes():
                return list(self.nodes.values())
            case ListKeepers():
                return [name for name, one in self.nodes.items() if one.alive and name not in self.keeperless]
            case WhoIsLate():
                return self.late.intersection(instruction.nodes)
            case TakeGone():
                return self.gone
            case SearchShelves():
                self.searched.append(instruction.node)
            case Save():
                self.saved[instruction.key] = instruction.value
            case FindKeeper():
                assert self.nodes[instruction.node].alive
                self.keeperless.discard(instruction.node)
            case _:
                raise AssertionError(instruction)
        return None

    def _said(self, name: str, method: str, args: tuple[Any, ...]) -> list[Any]:
        """Nothing, or the one answer."""
        self.asked.append((name, method, args))
        if not self.nodes[name].alive or (name, method) not in self.answers:
            return []
        answer = self.answers[name, method]
        return [answer(*args) if callable(answer) else answer]

    def methods(self, name: str) -> list[str]:
        """What a node was asked."""
        return [method for asked, method, _ in self.asked if asked == name]


class Talk:
    """A conversation, step by step. After each, what must be true of the state is asserted."""

    def __init__(self, world: World, conversation: Conversation[Any]) -> None:
        self._state, self._conversation = world.state, conversation
        self.over, self.value, self.instruction = False, None, None
        self.answer(None)

    def answer(self, answer: Any) -> None:
        """To its instruction; an error is raised there."""
        try:
            if isinstance(answer, BaseException):
                self.instruction = self._conversation.throw(answer)
            else:
                self.instruction = self._conversation.send(answer)
        except StopIteration as end:
            self.over, self.value = True, end.value
        finally:
            self._state.validate()
        if isinstance(self.instruction, Wait) and not self.over and self.instruction.until():
            self.answer(True)

    def until(self, kind: type, carry_out: Callable[[Any], Any]) -> None:
        """Have its instructions carried out, until it gives one of this kind or is over."""
        while not self.over and not isinstance(self.instruction, kind):
            self.answer(carry_out(self.instruction))

    @property
    def calls(self) -> dict[str, tuple[str, tuple[Any, ...]]]:
        """What it asks of whom."""
        assert isinstance(self.instruction, Ask)
        return {name: (call.method, call.args) for name, call in self.instruction.calls.items()}

    def go_on(self) -> None:
        """What it waited for is so."""
        assert isinstance(self.instruction, Wait)
        assert self.instruction.until()
        self.answer(True)
