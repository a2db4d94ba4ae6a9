"""Targets: nodes that could keep one more copy of an array. Only a few are asked for their room, in any cluster.

Nodes that have the array cached come first. Then some are picked at random, and the one with the most room is the best.
If none of these has room, twice as many others are asked, and so on. In a cluster that is nearly full, each node is
asked once.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence

from outlive.arrays.info import ArrayInfo
from outlive.catalog import asking
from outlive.catalog.instructions import Call, Conversation, WhoIsLate
from outlive.catalog.state import State

_ASKED_FIRST = 8  # nodes that are asked first, and one more for each copy that is missing
_TO_ANSWER = 5.0  # seconds that a node may take to say how much room it has


class Rooms:
    """The room that nodes have, as they said it. Copies that are made together share this: each node is asked once."""

    def __init__(self) -> None:
        self._room: dict[str, float] = {}  # bytes; infinite: the node has no keeper yet, and so nothing is used
        self.most = math.inf  # the most room of any node, once all were asked

    def __contains__(self, node: str) -> bool:
        return node in self._room

    def of(self, node: str) -> float:
        return self._room.get(node, 0)

    def said(self, node: str, room: float) -> None:
        self._room[node] = room

    def take(self, node: str, size: int) -> None:
        """Count so many bytes of a node's room as used."""
        self._room[node] = self.of(node) - size

    def all_said(self) -> None:
        """Note that all nodes were asked."""
        self.most = max(self._room.values(), default=0)


def find(
    state: State,
    info: ArrayInfo,
    rooms: Rooms,
    tried: set[str],
    missing: int,
    leaving: str = "",
    *,
    anywhere: bool = True,
) -> Conversation[list[str]]:
    """Nodes that have room for one more copy of an array, the best first: at least `missing`, if there are so many.

    Parameters
    ----------
    tried
        Nodes that are left out.
    leaving
        The node that the array is to leave, if any. Then the head comes first.
    anywhere
        See `replicas.evacuate`.
    """
    if info.size > rooms.most:
        return []
    holders = state.index.holders(info.id)
    found, asked = list[str](), False
    pool, portion = _pool(state, info, tried, leaving, anywhere=anywhere), _ASKED_FIRST + missing
    while len(found) < missing and (some := list(itertools.islice(pool, portion))):
        yield from _ask(state, some, rooms)
        asked = True
        found += [node for node in some if rooms.of(node) >= info.size]
        portion *= 2
    if asked and not found:  # ask all nodes once: else each further array would ask as many nodes in vain
        yield from _ask(state, [node for node in state.staying if _takes_copies(state, node)], rooms)
        rooms.all_said()

    def rank(node: str) -> tuple[bool, bool, float]:
        room = rooms.of(node)
        return (bool(leaving) and node != state.head, node not in holders, 0 if math.isinf(room) else -room)

    return sorted(found, key=rank)


def _ask(state: State, nodes: list[str], rooms: Rooms) -> Conversation[None]:
    """Ask those nodes for their room that have not said it yet."""
    nodes = [node for node in nodes if node not in rooms]
    if not nodes:
        return
    late = yield WhoIsLate(nodes)
    calls = {node: Call.of("room") for node in nodes if node in state.known and node not in late}
    answers = yield from asking.ask(calls, _TO_ANSWER)
    for node in nodes:  # a node whose keeper is silent or late has no room; one without a keeper has all
        rooms.said(node, answers.get(node, 0) if node in calls or node in late else math.inf)


def _pool(state: State, info: ArrayInfo, tried: set[str], leaving: str, *, anywhere: bool) -> Iterator[str]:
    """Nodes that may keep the array and do not, each once: first those to be preferred, then the others at random."""
    holders, seen = state.index.holders(info.id), {leaving, *tried}
    staying = state.staying
    others = staying if anywhere else staying[: bisect.bisect_left(staying, leaving)]
    first = [*sorted(holders), state.head] if leaving else sorted(holders)
    for node in itertools.chain(first, _by_chance(state, others)):
        if node in seen or holders.get(node) or not state.may_last_on(info.id, node):
            continue
        seen.add(node)
        if _takes_copies(state, node):
            yield node


def _takes_copies(state: State, node: str) -> bool:
    known = state.nodes.get(node)
    able = known is not None and known.alive and known.draining_until is None
    return able and node not in state.left and node not in state.unlisted


def _by_chance(state: State, nodes: Sequence[str]) -> Iterator[str]:
    """These nodes in random order, if they are many. The cost of one step does not depend on how many they are."""
    if len(nodes) <= _ASKED_FIRST:
        yield from nodes
        return
    moved: dict[int, int] = {}  # a permutation: the indices that are not in their place
    for i in range(len(nodes)):
        j = state.outside.chance.randrange(i, len(nodes))
        yield nodes[moved.get(j, j)]
        moved[j] = moved.get(i, i)
