"""The played network: its messages may be late, overtake each other, come twice or not at all.

An *actor* is a name that calls are sent to, as in Ray. It has a process. If that dies, the actor gets another one, and
the calls without an answer are made again. The methods are in groups, each with its number of threads; further calls
of a group wait. An actor answers nothing before its constructor has returned.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from outlive.testing.simulation.scheduler import Future, Process, Scheduler, Task, mix
from outlive.testing.simulation.shown import answer, shown

if TYPE_CHECKING:
    from outlive.testing.simulation.machines import Machine

_USUAL = 0.0005, 0.004  # seconds that a message takes: the least, and the most that is added
_RESTART = 0.02, 2.0  # seconds that a process takes to start: the least, and the most that is added
_NOTICED = 0.05, 0.5  # the same, until a caller hears that an actor is gone for good
LOST = 1e4  # seconds: longer than any caller waits


class Died(Exception):
    """The actor that was asked is gone for good, or its process died and the call is not to be repeated."""


class Manners(NamedTuple):
    """The probabilities that messages do not take the usual time."""

    slow: float = 0.0  # up to a second more
    late: float = 0.0  # up to half a minute more
    lost: float = 0.0  # only if the caller has a time limit
    repeated: float = 0.0  # the call is made, its answer is lost, and it is made again
    broken: float = 0.0  # only by a port: the connection breaks


class Called(Protocol):
    """An actor, or a connection to a server: messages are sent to it."""

    @property
    def name(self) -> str: ...

    @property
    def machine(self) -> Machine:
        """The machine that it is on."""

    def take(self, message: Message) -> None:
        """Take a message that has arrived."""


class Message:
    """A call that is under way."""

    __slots__ = (
        "actor",
        "args",
        "caller",
        "future",
        "held_until",
        "key",
        "machine",
        "method",
        "once",
        "parts",
        "process",
        "repeat",
    )

    def __init__(self, actor: Called, method: str, args: tuple[Any, ...], caller: Task, *, once: bool) -> None:
        self.actor, self.method, self.args, self.once = actor, method, args, once
        self.caller, self.key = caller, mix(caller.key, caller.count, 1)
        self.machine: Machine = caller.process.node
        self.future = Future(caller.process.scheduler)
        self.process: Process | None = None  # the one that makes the call now
        self.repeat = False
        self.held_until = 0.0  # it does not arrive before this moment
        self.parts: list[Future] | None = None  # the parts of a stream

    def __str__(self) -> str:
        return f"{self.actor.name}.{self.method}"


class Actor:
    """A name that calls are sent to, and the process that answers them.

    Parameters
    ----------
    start
        Makes, in a new process of the actor, the object whose methods are called.
    groups
        The number of threads of each group of methods. Methods without a group share one thread.
    """

    def __init__(
        self,
        network: Network,
        name: str,
        machine: Machine,
        start: Callable[[Process], Any],
        groups: dict[str, int] | None = None,
    ) -> None:
        self.network, self.name, self.machine = network, name, machine
        self._start, self._groups = start, groups or {}
        self.target: Any = None  # None while it starts
        self.gone = False
        self._waiting: list[Message] = []  # calls that wait for its start
        self._under_way: dict[Message, None] = {}
        self._threads: dict[str, int] = {}
        self._queues: dict[str, list[Message]] = {}
        self.process = self._begin()

    def _begin(self) -> Process:
        number = self.network.starts[self.name] = self.network.starts.get(self.name, 0) + 1
        self.target, self._threads, self._queues = None, {}, {}
        process = Process(self.network.scheduler, f"{self.name}.{number}", self.machine)
        process.alive = self.machine.alive  # a dead machine starts nothing: callers wait until the head notices
        process.at_death.append(lambda: self._died(process))
        self.process = process
        self.machine.processes.append(process)
        process.spawn("starts", self._construct, process)
        return process

    def _construct(self, process: Process) -> None:
        try:
            target = self._start(process)
        except Exception as error:  # noqa: BLE001 - Ray gives up such an actor
            if process is not self.process:
                return
            self.network.say(process, f"cannot start: {error}")
            self.end()
            return
        if process is not self.process:  # another process has replaced it
            return
        self.target = target
        self.network.say(process, "has started")
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self.take(message)

    def _died(self, process: Process) -> None:
        if process is not self.process or self.gone:
            return
        self.target = None
        lost = [*self._under_way, *itertools.chain.from_iterable(self._queues.values())]
        self._under_way.clear()
        self._queues.clear()
        for message in lost:
            if message.once:
                self.network.fail(message)
            else:
                self._waiting.append(message)
        if not self.machine.alive:
            self.end()
            return
        least, more = _RESTART
        delay = least + more * mix(process.key, 7) / 2**64
        self.network.scheduler.at(self.network.scheduler.now + delay, lambda: self._again(process))

    def _again(self, process: Process) -> None:
        if process is self.process and not self.gone:
            self._begin()

    def replace(self) -> None:
        """Start another process in place of this one, which still lives but was stopped or cut off for too long."""
        lost = [*self._under_way, *itertools.chain.from_iterable(self._queues.values())]
        self._under_way.clear()
        self._begin()
        for message in lost:
            if message.once:
                self.network.fail(message)
            else:
                self._waiting.append(message)

    def end(self) -> None:
        """End the actor for good, and free its name."""
        if not self.gone:
            self.gone = True
            if self.network.actors.get(self.name) is self:
                del self.network.actors[self.name]
            process = self.process
            for message in [*self._waiting, *self._under_way, *itertools.chain.from_iterable(self._queues.values())]:
                self.network.fail(message)
            self._waiting.clear()
            process.kill()

    def abandon(self) -> None:
        """Free the actor's name, as its node counts as dead. Its process is stopped, and may go on later."""
        alive, self.process.alive = self.process.alive, False
        self.end()
        self.process.alive = alive

    def take(self, message: Message) -> None:
        """Take a call that has arrived."""
        if self.gone:
            self.network.fail(message)
        elif self.target is None or not self.process.alive:
            self._waiting.append(message)
        else:
            self._queue(message)

    def _queue(self, message: Message) -> None:
        method = getattr(self.target, message.method)
        group = getattr(method, "group", "")
        if self._threads.get(group, 0) >= self._groups.get(group, 1):
            self._queues.setdefault(group, []).append(message)
            return
        self._threads[group] = self._threads.get(group, 0) + 1
        message.process = self.process
        self._under_way[message] = None
        self.process.spawn(message.method, self._make, self.process, message, method, group, key=mix(message.key, 2))

    def _make(self, process: Process, message: Message, method: Callable[..., Any], group: str) -> None:
        value, error, network = None, None, self.network
        network.begins(message.method)
        if network.traced:
            network.say(process, f"begins {shown(message.method, message.args)} for {message.caller}")
        try:
            value = method(*message.args)
            if message.parts is not None:
                self._yield(message, value)
        except Exception as raised:  # noqa: BLE001 - the caller gets it
            error = raised
        if network.traced:
            network.say(process, f"ends {message.method} for {message.caller}: {answer(value, error)}")
        if process is not self.process:
            return  # another process has replaced it, and its calls
        self._under_way.pop(message, None)
        self._threads[group] -= 1
        if queue := self._queues.get(group):
            self._queue(queue.pop(0))
        self.network.answer(message, value, error)

    def _yield(self, message: Message, values: Iterator[Any]) -> None:
        for part in values:
            value = part._replace(data=bytes(part.data)) if hasattr(part, "data") else part  # the caller gets a copy
            self.network.answer_part(message, value)
            self.network.scheduler.step()


class Network:
    """The messages between processes.

    Parameters
    ----------
    say
        Adds a process and its event to the trace.
    oddity
        Decides whether something unusual, with this key and name, happens.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        manners: Manners,
        say: Callable[[Process, str], None],
        oddity: Callable[[int, str], bool],
    ) -> None:
        self.scheduler, self.manners, self.say, self._oddity = scheduler, manners, say, oddity
        self.actors: dict[str, Actor] = {}
        self.starts: dict[str, int] = {}  # by name: how often the actor was started
        self._cut: dict[tuple[str, str], float] = {}  # from one machine to another: the end of the cut
        self.calls = 0
        self.traced = False
        self.awaited: dict[str, list[Callable[[], object]]] = {}  # by method: done when the next call begins
        self.delayed: dict[tuple[str, str], Callable[[Message], float]] = {}  # by method and way: the next one's delay

    def cut(self, one: Machine, other: Machine, until: float) -> None:
        """Hold back all messages from the one machine to the other until then."""
        way = one.host.name, other.host.name
        self._cut[way] = max(until, self._cut.get(way, 0.0))

    def heal(self) -> None:
        """End all cuts and delays: messages take the usual time."""
        self._cut.clear()
        self.awaited.clear()
        self.delayed.clear()
        self.manners = Manners()

    def breaks(self, message: Message) -> bool:
        """Whether the connection of this request breaks."""
        broken = self.manners.broken
        return bool(broken) and self._odd(message, 30, broken, "its connection", "breaks")

    def begins(self, method: str) -> None:
        """Do the work that waits for such a call to begin."""
        if self.awaited and method in self.awaited:
            for work in self.awaited.pop(method):
                work()

    def call(
        self, actor: Called, method: str, args: tuple[Any, ...], *, once: bool = False, ends: bool = True
    ) -> Message:
        """Send a call. `once`: it is never made again. `ends`: the caller has a time limit."""
        task = self.scheduler.task
        task.count += 1
        message = Message(actor, method, args, task, once=once)
        self.calls += 1
        repeated = 0.0 if once else self.manners.repeated
        message.repeat = repeated > 0 and self._odd(message, 3, repeated, "it", "is made twice")
        delay = self._delay(message, 4, "its call", ends=ends) + self._extra(message, "there")
        self.scheduler.at(self.scheduler.now + delay, lambda: self._arrive(message))
        return message

    def stream(self, actor: Actor, method: str, args: tuple[Any, ...]) -> Message:
        """Send a call of a method that yields its answer in parts."""
        message = self.call(actor, method, args, once=True)
        message.repeat, message.parts = False, [Future(self.scheduler)]
        return message

    def _arrive(self, message: Message) -> None:
        until = max(message.held_until, self.closed_until(message.machine, message.actor.machine))
        if until > self.scheduler.now:
            self.scheduler.at(until + 0.001, lambda: self._arrive(message))
        else:
            message.actor.take(message)

    def closed_until(self, one: Machine, other: Machine) -> float:
        """The end of the cut from the one machine to the other; 0 if there is none."""
        if not self._cut:
            return 0.0
        until = self._cut.get((one.host.name, other.host.name), 0.0)
        return until if until > self.scheduler.now else 0.0

    def answer(self, message: Message, value: Any, error: BaseException | None) -> None:
        """Send the answer of a call, or make the call again if it is repeated."""
        if message.repeat:
            message.repeat = False
            delay = self._delay(message, 5, "its repetition", ends=False)
            self.scheduler.at(self.scheduler.now + delay, lambda: self._arrive(message))
            return
        future = message.future if message.parts is None else message.parts[-1]
        if message.parts is not None and error is None:
            error = StopIteration()
        delay = self._delay(message, 6, "its answer", ends=True) + self._extra(message, "back")
        self.scheduler.at(self.scheduler.now + delay, lambda: self._back(message, future, value, error))

    def answer_part(self, message: Message, value: Any) -> None:
        assert message.parts is not None
        future = message.parts[-1]
        message.parts.append(Future(self.scheduler))
        delay = self._delay(message, 6 + 2 * len(message.parts), "a part", ends=True)
        self.scheduler.at(self.scheduler.now + delay, lambda: self._back(message, future, value, None))

    def _back(self, message: Message, future: Future, value: Any, error: BaseException | None) -> None:
        if until := self.closed_until(message.actor.machine, message.machine):
            self.scheduler.at(until + 0.001, lambda: self._back(message, future, value, error))
        elif message.caller.process.alive:
            future.set(value, error)

    def fail(self, message: Message) -> None:
        """Tell the caller, after a while, that the call failed or that its outcome is unknown."""
        least, more = _NOTICED
        future = message.future if message.parts is None else message.parts[-1]
        delay = least + more * mix(message.key, 9) / 2**64
        self.scheduler.at(self.scheduler.now + delay, lambda: future.set(error=Died(str(message))))

    def _extra(self, message: Message, way: str) -> float:
        """The seconds by which a fault of the plan delays a message."""
        delayed = self.delayed.pop((message.method, way), None) if self.delayed else None
        return 0.0 if delayed is None else delayed(message)

    def _delay(self, message: Message, what: int, name: str, *, ends: bool) -> float:
        least, more = _USUAL
        draw = mix(message.key, what)
        delay = least + more * draw / 2**64
        manners = self.manners
        if manners.lost and ends and self._odd(message, what + 100, manners.lost, name, "is lost"):
            return LOST
        if manners.late and self._odd(message, what + 200, manners.late, name, "is late"):
            return delay + 30.0 * mix(draw) / 2**64
        if manners.slow and self._odd(message, what + 300, manners.slow, name, "is slow"):
            return delay + 1.0 * mix(draw) / 2**64
        return delay

    def _odd(self, message: Message, what: int, probability: float, name: str, how: str) -> bool:
        key = mix(message.key, what)
        return key < probability * 2**64 and self._oddity(key, f"{message.caller} calls {message}: {name} {how}")
