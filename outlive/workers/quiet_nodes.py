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
    same_times: int
    """How often they were the same."""
    asked: float
    in_round: int


class QuietNodes:
    """The last answer of each node."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, _Last] = {}
        self._every, self._round = 0.0, 0
        self.resting: Collection[str] = ()
        """The ids of the nodes for which an answer of an earlier round stood the last time."""

    def begin(self, every: float) -> None:
        """Begin a round. The next one follows after so many seconds. In a round, each node is asked once."""
        self._every = every
        self._round += 1

    def ask(self, nodes: Sequence[LiveNode], registered: Iterable[Registered] | None = None) -> list[Answer]:
        """`processes.ask`, of those that do not rest."""
        now, before = self._clock(), self._last
        stay = {node.node_id for node in nodes if self._stays(node.node_id, now)} if len(nodes) >= MANY else set()
        due = [node for node in nodes if node.node_id not in stay]
        asked = processes.ask(due, registered=registered, at_once=_AT_ONCE)
        self.resting = {one for one in stay if before[one].in_round != self._round}
        self._last = {one: before[one] for one in stay} | {
            answer.node.node_id: self._noted(answer, before.get(answer.node.node_id), now)
            for answer in asked
            if answer.complete
        }
        found = {answer.node.node_id: answer for answer in asked}
        return [found[one.node_id] if one.node_id in found else self._last[one.node_id].answer for one in nodes]

    def ask_again(self, node_ids: Iterable[str]) -> None:
        """Have these nodes asked the next time."""
        for one in node_ids:
            self._last.pop(one, None)

    def _stays(self, node_id: str, now: float) -> bool:
        """Whether its last answer stands. By the time: who looks less often already need not skip looks, too."""
        last = self._last.get(node_id)
        if last is None:
            return False
        rests = last.same_times > 0 and now - last.asked < (min(2**last.same_times, _SLOWEST) - 0.5) * self._every
        return rests or last.in_round == self._round

    def _noted(self, answer: Answer, before: _Last | None, now: float) -> _Last:
        facts = _facts(answer)
        same = before is not None and before.facts == facts
        return _Last(answer, facts, before.same_times + 1 if before is not None and same else 0, now, self._round)


def _facts(answer: Answer) -> tuple[tuple[object, ...], ...]:
    return tuple(
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
