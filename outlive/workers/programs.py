"""The program of a task: it worked, submitted other tasks, and waited for them.

Ray's task events do not say when a task waited in `ray.get`. It is concluded from the tasks that it submitted: it
waited for those that ended before it did, from its last submission before their end. While it waits, it needs no CPU.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from outlive.workers.trace import Task


@dataclass(frozen=True)
class Work:
    """It used its CPUs."""

    seconds: float


@dataclass(frozen=True)
class Submit:
    """It submitted a task that ran on the same node."""

    task: Task


@dataclass(frozen=True)
class Wait:
    """It waited, without its CPUs."""

    tasks: frozenset[str] = frozenset()
    """The ids of tasks of the same node."""
    seconds: float = 0.0
    """The time that tasks on other nodes took: their nodes are replayed separately."""


Step = Work | Submit | Wait


@dataclass
class Programs:
    """The tasks of one node: the roots, which no task of the node submitted, and the program of each task."""

    roots: list[Task] = field(default_factory=list)
    _children: dict[str, list[Task]] = field(default_factory=lambda: defaultdict(list))
    _here: frozenset[str] = frozenset()

    @classmethod
    def of(cls, node: str, tasks: Iterable[Task]) -> Programs:
        """The tasks of one node, out of all tasks."""
        everything = [task for task in tasks if not task.actor or task.node == node]
        parents = {task.id for task in everything if task.id and task.node == node and not task.actor}
        found = cls(_here=frozenset(parents))
        for task in sorted(everything, key=lambda one: one.ready):
            if task.parent in parents and task.parent != task.id:
                found._children[task.parent].append(task)
                if task.node == node and task.ready < 0:  # it ran before the trace began
                    found.roots.append(task)
            elif task.node == node:
                found.roots.append(task)
        return found

    def steps(self, task: Task) -> deque[Step]:
        """The program of a task since the trace began."""
        now = max(task.start, 0.0)
        steps: deque[Step] = deque()
        open_: list[Task] = []  # submitted, to be waited for, and not waited for yet
        for child in [*self._children.get(task.id, ()), None]:
            until = task.end if child is None else max(child.ready, now)
            ended = [one for one in open_ if now < one.end <= until]
            if ended:
                last = max(one.end for one in ended)
                steps.append(self._wait(task.node, ended, last - now))
                now = last
                open_ = [one for one in open_ if one.end > last]
            steps.append(Work(until - now))
            now = until
            if child is None:
                break
            if child.node == task.node and child.ready >= 0:
                steps.append(Submit(child))
            if child.end <= task.end:
                open_.append(child)
        return steps

    @staticmethod
    def _wait(node: str, tasks: list[Task], seconds: float) -> Wait:
        here = frozenset(task.id for task in tasks if task.node == node)
        return Wait(here, 0.0 if here else seconds)
