"""The driver: who changes the state, who waits for whom, and what comes of errors. Without Ray."""

from __future__ import annotations

import gc
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from outlive.arrays.info import ArrayInfo
from outlive.catalog import keys
from outlive.catalog.instructions import Ask, Call, Conversation, Start, Together, Wait
from outlive.catalog.state import Outside, State
from outlive.catalog.wire import Bound, pack_request, unpack_bound
from outlive.cluster.catalog import Catalog
from outlive.cluster.driver import Driver
from tests.conftest import eventually


def driver_of(**methods: Any) -> Driver:
    peers: Any = SimpleNamespace(now=time.monotonic, sleep=time.sleep, **methods)
    return Driver(State(Outside(time.monotonic, time.time, random.Random())), peers)


def raise_round(state: State) -> None:
    state.rounds += 1


def test_the_state_is_free_while_others_are_asked() -> None:
    driver = driver_of(ask=lambda calls, patience: {"a": driver.step(lambda state: state.rounds)})

    def ask(state: State) -> Conversation[int]:
        answers = yield Ask({"a": Call.of("room")})
        return answers["a"] + 1

    assert driver.run(ask) == 1


def test_steps_of_conversations_are_whole() -> None:
    """Many that add one, each with a yield behind what it writes, and none between what it reads and writes."""
    driver = driver_of(ask=lambda calls, patience: {})

    def count(state: State) -> Conversation[None]:
        for _ in range(50):
            seen = state.rounds
            time.sleep(0)
            state.rounds = seen + 1
            yield Ask({"a": Call.of("room")})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: driver.run(count), range(8)))
    assert driver.look(lambda state: state.rounds) == 400


def test_who_waits_goes_on_as_soon_as_it_is_so() -> None:
    driver = driver_of()

    def wait(state: State) -> Conversation[bool]:
        return (yield Wait(lambda: state.rounds == 2, 60.0))

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(driver.run, wait) for _ in range(2)]
        eventually(lambda: driver.waiting == 2)
        driver.step(raise_round)
        assert driver.waiting == 2
        driver.step(raise_round)
        assert [one.result(30) for one in waiting] == [True, True]
    assert driver.waiting == 0


def test_who_waits_for_what_never_comes_is_told() -> None:
    def wait(state: State) -> Conversation[bool]:
        return (yield Wait(lambda: False, 0.01))

    assert driver_of().run(wait) is False


def test_one_at_a_time_where_each_waits_for_the_other() -> None:
    inside = list[int]()
    driver = driver_of(ask=lambda calls, patience: (inside.append(len(inside)), time.sleep(0.001), inside.pop())[2])

    def alone(state: State) -> Conversation[int]:
        yield Wait(lambda: not state.under_way.bulk)
        state.under_way.bulk = True
        try:
            return (yield Ask({"a": Call.of("room")}))
        finally:
            state.under_way.bulk = False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: driver.run(alone), range(40))) == [0] * 40


def test_an_error_is_raised_where_it_was_asked() -> None:
    def refuse(calls: Any, patience: float) -> None:
        raise ConnectionError(calls["a"].method)

    def ask(state: State) -> Conversation[str]:
        try:
            yield Ask({"a": Call.of("room")})
        except ConnectionError as error:
            return str(error)
        return ""

    driver = driver_of(ask=refuse)
    assert driver.run(ask) == "room"

    def unaware(state: State) -> Conversation[None]:
        yield Ask({"a": Call.of("room")})

    with pytest.raises(ConnectionError):
        driver.run(unaware)
    assert driver.look(lambda state: state.rounds) == 0  # and the state is free


def test_a_conversation_that_is_interrupted_leaves_nothing_under_way() -> None:
    def interrupt(calls: Any, patience: float) -> None:
        raise KeyboardInterrupt

    def alone(state: State) -> Conversation[None]:
        state.under_way.bulk = True
        try:
            yield Ask({"a": Call.of("room")})
        finally:
            state.under_way.bulk = False

    driver = driver_of(ask=interrupt)
    with pytest.raises(KeyboardInterrupt):
        driver.run(alone)
    assert not driver.look(lambda state: state.under_way.bulk)


def test_of_those_that_go_on_together_one_may_fail() -> None:
    driver, ended = driver_of(), list[int]()

    def one(state: State, number: int) -> Conversation[int]:
        if number == 1:
            raise ValueError(number)
        yield Wait(lambda: True)
        ended.append(number)
        return number

    def together(state: State, numbers: list[int]) -> Conversation[list[int]]:
        return (yield Together([one(state, number) for number in numbers], "copy"))

    assert driver.run(together, [5, 2, 3]) == [5, 2, 3]
    ended.clear()
    with pytest.raises(ValueError, match="1"):
        driver.run(together, [0, 1, 2])
    assert sorted(ended) == [0, 2]  # it is waited for


def test_nobody_waits_for_what_was_started() -> None:
    driver, go_on = driver_of(ask=lambda calls, patience: go_on.wait(60)), threading.Event()

    def slow(state: State) -> Conversation[None]:
        yield Ask({"a": Call.of("room")})
        state.rounds = 7

    def start(state: State) -> Conversation[int]:
        yield Start(slow(state))
        return state.rounds

    assert driver.run(start) == 0
    go_on.set()
    eventually(lambda: driver.look(lambda state: state.rounds) == 7)


def test_what_is_wrong_is_noticed_and_stays_noticed() -> None:
    driver = driver_of()

    def spoil(state: State) -> None:
        state.left.add("a")
        state.index._homes["a"] = {("s", "k"): None}

    with pytest.raises(AssertionError):
        driver.step(spoil)
    with pytest.raises(AssertionError):
        driver.step(raise_round)


def test_the_collector_rests_while_very_many_arrays_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look at all that the catalog knows, time and again, and at each new entry."""
    catalog, states, bind = Catalog.__new__(Catalog), [], keys.bind
    catalog.driver = driver_of()
    catalog.driver.state.known.add("a")
    catalog.driver.state.epochs["a"] = 7

    def spied(*args: Any) -> Bound:
        states.append(gc.isenabled())
        return bind(*args)

    monkeypatch.setattr(keys, "bind", spied)
    for count in (1, 3000):
        infos = [ArrayInfo(f"{n:032x}", "default", f"{n}", "'<f8'", (), False, 64, 8, 300, n + 1) for n in range(count)]
        assert unpack_bound(catalog.bind(pack_request(infos, "a", 0))) == Bound(7)
    assert states == [True, False] and gc.isenabled() and len(catalog.driver.state.index) == 3000
