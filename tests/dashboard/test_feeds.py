"""Feeds ask while somebody watches, keep what they had, and never ask all the time. The history is bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from outlive.dashboard import feeds
from outlive.dashboard.feeds import Feed, Feeds
from outlive.dashboard.history import History
from outlive.dashboard.sources import SourceError


def never(_: Feed) -> None:
    pass


def feed(answers: list[Any]) -> Feed:
    async def ask() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, str):
            raise SourceError(answer)
        return answer

    return Feed(("workers",), ask, never)


def test_an_error_keeps_the_value() -> None:
    async def run() -> None:
        one = feed([{"n": 1}, "gone", "gone still", {"n": 2}])
        await one.look()
        seen = one.at
        await one.look()
        since = one.failing_since
        await one.look()
        assert (one.value, one.at, one.error, one.failing_since) == ({"n": 1}, seen, "gone still", since)
        await one.look()
        assert (one.value, one.error, one.failing_since, one.version) == ({"n": 2}, None, None, 4)

    asyncio.run(run())


def test_the_longer_an_answer_takes_the_less_often_it_is_asked_for() -> None:
    one = feed([])
    assert one._pause() == feeds.UNWATCHED["workers"]
    one.watchers = 1
    assert one._pause() == feeds.WATCHED["workers"]
    one._took = 2.0
    assert one._pause() == 20.0
    one._took = 500.0
    assert one._pause() == 120.0


def test_nobody_waits_for_a_feed_that_was_dropped() -> None:
    async def run() -> None:
        never_answered = asyncio.Event()

        async def ask(*_: str) -> Any:
            await never_answered.wait()

        every = Feeds(ask, never)
        waiting = asyncio.create_task(every.of("arrays", "store").current())
        await asyncio.sleep(0)
        for number in range(feeds._MOST):
            every.of("arrays", f"store-{number}")
        assert "too many stores" in str((await asyncio.wait_for(waiting, 60)).error)
        await every.close()

    asyncio.run(run())


def test_a_cancellation_that_is_lost_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's `wait_for` may lose one. The feed would go on, and the dashboard would never end."""
    monkeypatch.setattr(feeds, "_HEARD_WITHIN", 0.01)
    lost = list[BaseException]()

    async def ask(*_: str) -> Any:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError as error:
            if lost:
                raise
            lost.append(error)
        return {}

    async def run() -> None:
        every = Feeds(ask, lambda _: None)
        every.of("workers")
        await asyncio.sleep(0.01)
        await asyncio.wait_for(every.close(), 60)

    asyncio.run(run())
    assert len(lost) == 1


def test_what_nobody_watches_rests_and_is_dropped() -> None:
    asked = list[tuple[str, ...]]()

    async def ask(*key: str) -> Any:
        asked.append(key)
        return {}

    async def run() -> None:
        every = Feeds(ask, never)
        for number in range(30):
            with every.watched("arrays", f"store-{number}") as one:
                await one.current()
        assert len(every.known()) <= feeds._MOST
        assert len(asked) >= 30
        assert every.of("arrays", "store-29")._pause() is None
        await every.close()

    asyncio.run(run())


def test_what_nobody_watches_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that asks each hour, with no page open, gets what is so then."""
    answers = [1, 2, 3]

    async def ask(*_: str) -> Any:
        return answers.pop(0)

    async def run() -> None:
        every = Feeds(ask, never)
        one = every.of("arrays", "default")
        assert (await one.fresh()).value == 1
        assert (await one.fresh()).value == 1  # just asked for
        monkeypatch.setitem(feeds.WATCHED, "arrays", 0.0)
        assert (await asyncio.wait_for(one.fresh(), 60)).value == 2
        with every.watched("arrays", "default"):
            assert (await one.fresh()).value == 2  # it is asked for again and again
        await every.close()

    asyncio.run(run())


def test_the_memory_of_the_history_is_bounded() -> None:
    history = History(samples=10)
    worker = {"state": "idle", "unique": 100, "kind": None, "retirable": True, "owned": 0}
    node = {"used": 5, "budget": None, "disk_used": 0}
    for at in range(50):
        nodes = None if at == 47 else {"nodes": [node, node], "stores": {"default": [3, 40], "b": [1, 2]}}
        history.add({"workers": [worker, {**worker, "state": "running", "unique": None}]}, nodes, at=float(at))
    found = history.document()
    assert found["times"] == [float(at) for at in range(40, 50)]
    assert found["series"]["arrays"] == [4] * 7 + [None] + [4] * 2
    assert found["series"]["used"][-1] == 10
    assert found["series"]["idle_memory"] == [100] * 10
