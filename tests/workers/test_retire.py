"""What trim holds is returned, whatever interrupts it. The raylet is played: it has no Ray."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from outlive.errors import StoreUnavailable
from outlive.ray_internals import lease_guard, leases
from outlive.ray_internals.leases import Lease
from outlive.ray_internals.node_workers import LiveNode
from outlive.workers import trimming
from outlive.workers.rows import Worker
from outlive.workers.trimming import Choice, _retire

NODE: Any = LiveNode.__new__(LiveNode)
object.__setattr__(NODE, "node_id", "ab")
POOL: Any = None


def chosen(name: str) -> Choice:
    worker = Worker(
        node_id="ab", worker_id=name, pid=1, job="01000000", title=None, state="idle", idle_for=9.0, unique=1, shared=1,
        owned=0, borrowed=0, tasks=1,
    )  # fmt: skip
    return Choice(worker, "above max_memory")


class Raylet:
    """Has idle workers. Returning the lease of one of them goes wrong."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, idle: str, fails: str, error: BaseException) -> None:
        self.idle, self.leased, self.left = list(idle), list[str](), list[str]()
        self._fails, self._error = fails, error
        monkeypatch.setattr(leases, "take", self.take)
        monkeypatch.setattr(leases, "give_back", self.give_back)
        monkeypatch.setattr(leases, "let_exit", lambda lease: True)
        monkeypatch.setattr(leases, "leave", lambda lease, **_: self.left.append(lease.worker_id))

    def take(self, node: LiveNode, pool: Any) -> Lease | None:
        if not self.idle:
            return None
        self.leased.append(self.idle.pop(0))
        return Lease(node, self.leased[-1].encode(), self.leased[-1], 1, 1, "127.0.0.1:1")

    def give_back(self, lease: Lease, *, exiting: bool = False) -> None:
        if lease.worker_id == self._fails:
            self.left.append(lease.worker_id)  # as the real one does
            raise self._error
        self.leased.remove(lease.worker_id)


def test_ctrl_c_while_leases_are_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    raylet = Raylet(monkeypatch, "abc", "b", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        _retire(NODE, POOL, [chosen("z")], 3, lambda: True, {})
    assert set(raylet.leased) == set(raylet.left)  # the next trim returns them


def test_a_worker_that_left_counts_although_its_lease_was_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    Raylet(monkeypatch, "ab", "a", StoreUnavailable("no answer"))
    silent = dict[str, str]()
    first, second = _retire(NODE, POOL, [chosen("a"), chosen("b")], 2, lambda: True, silent)
    assert (first.outcome, second.outcome) == ("left", "stays: no answer")
    assert first.left and trimming.Trimmed((first, second), ()).freed == 1
    (again,) = _retire(NODE, POOL, [chosen("b")], 2, lambda: True, silent)  # of another pool: nobody waits once more
    assert again.outcome == "stays: no answer"


def test_a_lease_that_could_not_be_noted_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked for either. A guard that has too little memory for days tries again and again."""

    def nothing_left(*_: Any, **__: Any) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", nothing_left)
    guard = lease_guard.LeaseGuard()
    with pytest.raises(OSError, match="temporarily"):
        guard.about_to_take(b"x", "127.0.0.1:1")
    assert not guard._held
