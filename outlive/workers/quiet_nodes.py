"""Of many nodes, those on which nothing happens are asked less often: their last answer stands for them meanwhile.

A call of each raylet is most of what a look costs. Nobody may be let go by an answer that is not of now: whoever
chooses a worker of a node that rests asks that node first (`ask_again`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from outlive.ray_internals import processes
from outlive.ray_internals.node_workers import LiveNode, Registered
from outlive.ray_internals.processes import Answer

MANY = 32
"""Nodes. If there are fewer, all are asked each time."""
_AT_ONCE = 32  # nodes that are asked at the same time: nobody waits for the guard
_SLOWEST = 6  # times the interval, for a node on which nothing happens


@dataclass(frozen=True)
class _Last:
    answer: Answer
    facts: tuple[tuple[object, ...], ...]
    """Of each process: its tasks and references."""
    times: int
    """How often they were the same."""
    asked: float


class QuietNodes:
    """The last answer of each node."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, _Last] = {}
        self._resting: frozenset[str] = frozenset()
        self.every = 0.0
        """Seconds from one look to the next."""

    @property
    def resting(self) -> Collection[str]:
        """The ids of the nodes for which an earlier answer stood the last time."""
        return self._resting

    def ask(self, nodes: Sequence[LiveNode], registered: Iterable[Registered] | None = None) -> list[Answer]:
        """`processes.ask`, of those that do not rest."""
        now = self._clock()
        resting = frozenset(node.node_id for node in nodes if self._rests(node.node_id, now))
        if len(nodes) < MANY:
            resting = frozenset()
        due = [node for node in nodes if node.node_id not in resting]
        asked = processes.ask(due, registered=registered, at_once=_AT_ONCE)
        before, self._resting = self._last, resting
        self._last = {one: before[one] for one in resting} | {
            answer.node.node_id: _noted(answer, before.get(answer.node.node_id), now)
            for answer in asked
            if answer.complete
        }
        found = {answer.node.node_id: answer for answer in asked}
        return [found[one.node_id] if one.node_id in found else self._last[one.node_id].answer for one in nodes]

    def ask_again(self, node_ids: Iterable[str]) -> None:
        """Have these nodes asked the next time."""
        for one in node_ids:
            self._last.pop(one, None)

    def _rests(self, node_id: str, now: float) -> bool:
        """By the time and not by the number of looks: what looks less often already need not skip looks, too."""
        last = self._last.get(node_id)
        if last is None:
            return False
        return now - last.asked < (min(2**last.times, _SLOWEST) - 0.5) * self.every and last.times > 0


def _noted(answer: Answer, before: _Last | None, now: float) -> _Last:
    facts = tuple(
        sorted(
            (
                stats.worker_id,
                stats.job_id,
                stats.actor_id,
                stats.num_executed_tasks,
                stats.num_running_tasks,
                stats.num_pending_tasks,
                stats.num_owned_objects,
                stats.num_object_refs_in_scope,
            )
            for stats in answer.processes
        )
    )
    return _Last(answer, facts, before.times + 1 if before is not None and before.facts == facts else 0, now)
