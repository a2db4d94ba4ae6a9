"""The driver: carries out what conversations yield, by threads, and lets one at a time change the state."""

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

T = TypeVar("T")
CREWS = {"list": 16, "copy": 4, "start": 64}
"""The threads of each crew, at most: who lists shelves, who makes copies, and whom nobody waits for, as one for each
node that is silent."""
_SMALL, _SELDOM = 500, 100  # keys up to which the state is validated in every step; else in every so many
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
    """The answer to an instruction that needs no other conversation, by way of `peers`. Raises what they raise."""
    return _OUTSIDE[type(instruction)](instruction, peers)


class Driver:
    """Of the conversations about one state.

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

    @property
    def waiting(self) -> int:
        """How many conversations wait for others to change the state."""
        return len(self._waiters)

    def look(self, question: Callable[..., T], *args: Any) -> T:
        """What `question(state, *args)` says, which changes nothing."""
        with self._lock:
            return question(self.state, *args)

    def step(self, change: Callable[..., T], *args: Any) -> T:
        """`change(state, *args)`, in one step."""
        with self._lock:
            try:
                return change(self.state, *args)
            finally:
                self._stepped()

    def run(self, begin: Callable[..., Conversation[T]], *args: Any, **options: Any) -> T:
        """Have the conversation `begin(state, *args, **options)`; what comes of it."""
        return self._converse(begin(self.state, *args, **options))

    def every(self, seconds: float, begin: Callable[[State], Conversation[None]]) -> None:
        """Have a conversation again and again, by a thread of its own, so long after it ended."""

        def go_on() -> None:
            while True:
                self.peers.sleep(seconds)
                self._try(begin(self.state), begin.__name__)

        threading.Thread(target=go_on, name=begin.__name__, daemon=True).start()

    def _try(self, conversation: Conversation[Any], name: str) -> None:
        try:
            self._converse(conversation)
        except Exception:  # noqa: BLE001 - nobody waits for it
            _log.exception("%s failed; it goes on", name)

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
                if self._validates and isinstance(instruction, ins.Ask):
                    self.state.validate_ask(instruction)
                self._lock.release()
                try:
                    answer = self._carry_out(instruction)
                except Exception as raised:  # noqa: BLE001 - it is the conversation's
                    error = raised
                finally:
                    self._lock.acquire()

    def _carry_out(self, instruction: Any) -> Any:
        if isinstance(instruction, ins.Together):
            crew = self._crews[instruction.crew]
            futures = [crew.submit(self._converse, one) for one in instruction.conversations]
            wait(futures)
            return [future.result() for future in futures]
        if isinstance(instruction, ins.Start):
            self._crews["start"].submit(self._try, instruction.conversation, "what was started")
            return None
        return carry_out(instruction, self.peers)

    def _wait(self, one: ins.Wait) -> bool:
        """The caller has the lock. It is free meanwhile."""
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
        """The state has changed: whoever waits for that goes on, and under test nothing is wrong then."""
        for waiter in self._waiters:
            if waiter.until():
                waiter.event.set()
        if self._validates:
            self._validate()

    def _validate(self) -> None:
        """Whatever went wrong in the background is raised too."""
        self._steps += 1
        if self._wrong is None and (len(self.state.index) <= _SMALL or self._steps % _SELDOM == 0):
            try:
                self.state.validate()
            except AssertionError as error:
                self._wrong = error
        if self._wrong is not None:
            raise self._wrong


class _Waiter:
    def __init__(self, until: Callable[[], bool]) -> None:
        self.until, self.event = until, threading.Event()
