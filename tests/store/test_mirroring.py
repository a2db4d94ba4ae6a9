"""A mirror's actor as a plain object: one thread saves, and no call waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from outlive import actor_logs
from outlive.archive.folder import Folder
from outlive.errors import StoreUnavailable
from outlive.store import mirroring
from outlive.store.mirroring import Mirror, Mirroring, MirrorStatus, Order, Ticket

EVERY = 1e6  # seconds


class Saves:
    """What a mirror saves by. Each save ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.count = threading.Semaphore(0), 0
        self.go_on = threading.Semaphore(0)

    def __call__(self, *_: Any, **__: Any) -> None:
        self.count += 1
        self.begun.release()
        self.go_on.acquire()  # a test leaves the thread behind, where it waits


@pytest.fixture
def saves(monkeypatch: pytest.MonkeyPatch) -> Saves:
    saves = Saves()
    monkeypatch.setattr(mirroring, "save", saves)
    monkeypatch.setattr(mirroring.sessions, "current", lambda: None)
    monkeypatch.setattr(actor_logs, "begin", lambda: None)
    return saves


def made(every: float = EVERY) -> Mirroring:
    return Mirroring(Order("s", Folder("/m"), "", every, delete=False))


def result(mirror: Mirroring, ticket: Any) -> MirrorStatus:
    """Ask until that save has ended."""
    while not isinstance(found := mirror.saved(ticket), MirrorStatus):
        threading.Event().wait(0.001)
    return found


def test_calls_that_wait_for_a_save_share_one_and_keep_none_waiting(saves: Saves) -> None:
    mirror = made()
    assert saves.begun.acquire(timeout=60)  # the first, by itself
    tickets = [mirror.saved(None) for _ in range(20)]
    assert all(isinstance(ticket, Ticket) for ticket in tickets)
    assert len(set(tickets)) == 1
    assert mirror.status() == MirrorStatus("s", "/m", EVERY, None, None, None)
    assert mirror.order()
    saves.go_on.release()
    assert saves.begun.acquire(timeout=60)
    assert mirror.status().saved_at is not None
    assert mirror.saved(tickets[0]) == tickets[0], "the save that went on when they called had begun before"
    saves.go_on.release()
    assert result(mirror, tickets[0]).failed is None
    assert saves.count == 2


def test_each_call_has_a_save_that_begins_after_it(saves: Saves) -> None:
    mirror = made()
    for count in (1, 2, 3):
        assert saves.begun.acquire(timeout=60)
        assert saves.count == count
        ticket = mirror.saved(None)
        assert isinstance(ticket, Ticket) and ticket.number == count + 1
        saves.go_on.release()
    assert saves.begun.acquire(timeout=60)


def test_it_saves_again_and_again_by_itself(saves: Saves) -> None:
    mirror = made(every=0.001)
    for _ in range(3):
        assert saves.begun.acquire(timeout=60)
        saves.go_on.release()
    assert saves.begun.acquire(timeout=60)
    assert mirror.status().saved_at is not None


def test_a_ticket_of_the_actor_s_process_before_is_for_a_new_save(saves: Saves) -> None:
    mirror = made()
    assert saves.begun.acquire(timeout=60)
    ticket = mirror.saved(Ticket("that died", 7))
    assert isinstance(ticket, Ticket) and ticket.number == 2
    saves.go_on.release(2)
    result(mirror, ticket)
    assert saves.count == 2


def test_save_asks_until_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    status, asked = MirrorStatus("s", "/m", 5.0, 1.0, None, None), list[tuple[Any, ...]]()
    first, second = Ticket("a", 1), Ticket("b", 1)
    answers: list[Any] = [first, first, second, status]

    def ask(*arguments: Any) -> Any:
        asked.append(arguments)
        return answers.pop(0)

    monkeypatch.setattr(mirroring, "_ask", ask)
    monkeypatch.setattr(mirroring.sessions, "current", lambda: None)
    monkeypatch.setattr(mirroring.time, "sleep", lambda _: None)
    assert Mirror("s", "/m").save() == status
    assert [arguments[3] for arguments in asked] == [None, first, first, second]


def test_save_of_a_mirror_that_is_stopped_meanwhile_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Callable[[], Any]] = [lambda: Ticket("a", 1)]

    def ask(*_: Any) -> Any:
        if not answers:
            raise StoreUnavailable("no mirror runs")
        return answers.pop()()

    monkeypatch.setattr(mirroring, "_ask", ask)
    monkeypatch.setattr(mirroring.sessions, "current", lambda: None)
    monkeypatch.setattr(mirroring.time, "sleep", lambda _: None)
    with pytest.raises(StoreUnavailable, match="no mirror"):
        Mirror("s", "/m").save()
