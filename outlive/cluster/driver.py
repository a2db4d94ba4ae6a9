"""The driver: carries out the instructions of conversations, by threads. Only one at a time changes the state."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from outlive.catalog import instructions as ins
from outlive.catalog.instructions import Conversation
from outlive.catalog.state import State
from outlive.cluster.port import Peers
from outlive.cluster.timing import Timing

T = TypeVar("T")
CREWS = {"list": 16, "copy": 4, "start": 64, "finish": 16}
"""The most threads of each crew. `list` lists shelves, and `copy` makes copies. `start` holds the conversations whose
end nobody waits for: there may be one for each silent node."""
_SMALL, _SELDOM = 500, 100  # with up to 500 keys every step validates the state, with more one step in 100
_log = logging.getLogger(__name__)


_OUTSIDE: dict[type, Callable[[Any, Peers], Any]] = {
    ins.Ask: lambda ask, peers: peers.ask(ask.calls, ask.patience),
    ins.ListNodes: lambda _, peers: peers.nodes(),
    ins.ListKeepers: lambda _, peers: peers.keeper_nodes(),
    ins.WhoIsLate: lambda who, peers: set(filter(peers.is_late, who.nodes)),
    ins.FindKeeper: lambda find, peers: peers.find_keeper(find.node, start=True),
    ins.TakeGone: lambda _, peers: peers.take_gone(),
    ins.SearchShelves: lambda search, peers: peers.search_shelves(search.node),
    ins.Save: lambda save, peers: peers.save(save.key, save.value),
}


def carry_out(instruction: Any, peers: Peers) -> Any:
    """Carry out an instruction by a method of `peers`; its answer. Raises what that method raises."""
    return _OUTSIDE[type(instruction)](instruction, peers)


class Driver:
    """The driver of all conversations over one state.

    Parameters
    ----------
    crews
        How many threads each crew has.
    """

    def __init__(self, state: State, peers: Peers, crews: Mapping[str, int] = CREWS) -> None:
        self.state, self.peers = state, peers
        self._lock = threading.Lock()
        self._waiters: list[_Waiter] = []
        self._crews = {name: ThreadPoolExecutor(count, name) for name, count in crews.items()}
        self._validates, self._steps = bool(os.environ.get("OUTLIVE_VALIDATE")), 0
        self._wrong: AssertionError | None = None
        self.timings = {"step": Timing(), "talk": Timing()}
        """How long calls take: those by `look` and `step`, and those by `run`."""
        self.violated = 0
        """How often a last replica was to be dropped."""

    @property
    def waiting(self) -> int:
        """How many conversations wait for others to change the state."""
        return len(self._waiters)

    def look(self, question: Callable[..., T], *args: Any) -> T:
        """The answer of `question(state, *args)`, which changes nothing."""
        timing = self.timings["step"]
        began = timing.begin()
        try:
            with self._lock:
                return question(self.state, *args)
        finally:
            timing.end(began)

    def step(self, change: Callable[..., T], *args: Any) -> T:
        """Call `change(state, *args)` as one step; its answer."""
        timing = self.timings["step"]
        began = timing.begin()
        try:
            with self._lock:
                try:
                    return change(self.state, *args)
                finally:
                    self._stepped()
        finally:
            timing.end(began)

    def run(self, begin: Callable[..., Conversation[T]], *args: Any, **options: Any) -> T:
        """Hold the conversation `begin(state, *args, **options)`; its value."""
        timing = self.timings["talk"]
        began = timing.begin()
        try:
            return self._converse(begin(self.state, *args, **options))
        finally:
            timing.end(began)

    def every(self, seconds: float, begin: Callable[[State], Conversation[None]]) -> None:
        """Hold a conversation again and again, in a thread of its own, with pauses of so many seconds."""
        self.again(lambda: self._converse(begin(self.state)), seconds, begin.__name__)

    def again(self, work: Callable[[], None], seconds: float, name: str = "") -> None:
        """Do work again and again, in a thread of its own, with pauses of so many seconds."""
        name = name or work.__name__

        def go_on() -> None:
            while True:
                self.peers.sleep(seconds)
                _try(work, name)

        threading.Thread(target=go_on, name=name, daemon=True).start()

    def _converse(self, conversation: Conversation[T]) -> T:
        answer: Any = None
        error: BaseException | None = None
        with self._lock, contextlib.closing(conversation):
            while True:
                try:
                    instruction = conversation.throw(error) if error is not None else conversation.send(answer)
                except StopIteration as end:
                    value: T = end.value
                    return value
                finally:
                    self._stepped()
                answer, error = None, None
                if isinstance(instruction, ins.Wait):
                    answer = self._wait(instruction)
                    continue
                if isinstance(instruction, ins.Ask):
                    self._look_at(instruction)
                self._lock.release()
                try:
                    answer = self._carry_out(instruction)
                except Exception as raised:  # noqa: BLE001 - it is raised in the conversation
                    error = raised
                finally:
                    self._lock.acquire()

    def _look_at(self, ask: ins.Ask) -> None:
        """Look whether a last replica is to be dropped: that raises under test, and is counted and logged otherwise."""
        try:
            self.state.validate_ask(ask)
        except AssertionError as error:
            self.violated += 1
            if self._validates:
                raise
            _log.error("%s, which is a bug of outlive", error)

    def _carry_out(self, instruction: Any) -> Any:
        if isinstance(instruction, ins.Together):
            crew = self._crews[instruction.crew]
            futures = [crew.submit(self._converse, one) for one in instruction.conversations]
            wait(futures)
            return [future.result() for future in futures]
        if isinstance(instruction, ins.Start):
            self._crews[instruction.crew].submit(
                _try, lambda: self._converse(instruction.conversation), "what was started"
            )
            return None
        return carry_out(instruction, self.peers)

    def _wait(self, one: ins.Wait) -> bool:
        """Carry out a `Wait`. The caller holds the lock, which is free while this waits."""
        until = None if one.patience is None else self.peers.now() + one.patience
        waiter = _Waiter(one.until)
        self._waiters.append(waiter)
        try:
            while not one.until():
                seconds = None if until is None else until - self.peers.now()
                if seconds is not None and seconds <= 0:
                    return False
                waiter.event.clear()
                self._lock.release()
                try:
                    waiter.event.wait(seconds)
                finally:
                    self._lock.acquire()
            return True
        finally:
            self._waiters.remove(waiter)

    def _stepped(self) -> None:
        """After each step: wake the conversations whose condition holds now, and under test validate the state."""
        for waiter in self._waiters:
            if waiter.until():
                waiter.event.set()
        if self._validates:
            self._validate()

    def _validate(self) -> None:
        """Raise what is wrong with the state, even if a conversation in the background has made it so."""
        self._steps += 1
        if self._wrong is None and (len(self.state.index) <= _SMALL or self._steps % _SELDOM == 0):
            try:
                self.state.validate()
            except AssertionError as error:
                self._wrong = error
        if self._wrong is not None:
            raise self._wrong


def _try(work: Callable[[], Any], name: str) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001 - nobody waits for it
        _log.exception("%s failed; it goes on", name)


class _Waiter:
    def __init__(self, until: Callable[[], bool]) -> None:
        self.until, self.event = until, threading.Event()
