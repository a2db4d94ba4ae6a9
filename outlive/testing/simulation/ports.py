"""Ports of the played cluster: servers that listen, and the connections of other processes to them.

A connection carries one request at a time. It may break: then its request may have been heard, or may be on its way
for seconds, unless the server has ended the connection meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outlive.cluster.lines import address
from outlive.testing.simulation.scheduler import Future, mix, running
from outlive.testing.simulation.shown import answer, shown
from outlive.transfer.channel import Lost, Silent
from outlive.transfer.proof import PATIENCE

if TYPE_CHECKING:
    from outlive.testing.simulation.machines import Machine
    from outlive.testing.simulation.network import Message, Network

_HELLO = "hello"
_CONNECT = 0.2  # seconds until a machine counts as one that cannot be reached
_BREAKS = 0.012  # seconds from a request to the break of its connection, at most: about as long as an answer takes
_ON_ITS_WAY = 6.0  # seconds that the request of a broken connection may be on its way, at most
_TO_LEARN = 5.0  # seconds until a server learns that a connection is closed, at most
_network: Network | None = None
_listening: list[Listening] = []  # a server's port is its place in this list


def begin(network: Network) -> None:
    """Begin a world, in which no server listens."""
    global _network
    _network = network
    _listening.clear()


def _played() -> Network:
    assert _network is not None, "no world has begun"
    return _network


class Listening:
    """The port of a server of the running process, which ends with the process.

    Parameters
    ----------
    name
        The server's name.
    serve
        Called, in a task of the process, with each request that arrives and its connection.
    greet
        Called with each new connection.
    """

    def __init__(
        self,
        name: str,
        serve: Callable[[Connection, Message], None],
        greet: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        task = running()
        assert task is not None
        self.name, self.process, self._serve, self._greet = name, task.process, serve, greet
        self.ended = False
        self.machine: Machine = task.process.node
        self.host, self.port = self.machine.name, len(_listening)
        self._heard: dict[Message, None] = {}  # requests without an answer
        _listening.append(self)
        self.process.at_death.append(self.end)

    def take(self, connection: Connection, message: Message) -> None:
        """Take a request that has arrived."""
        if connection.ended or self.ended:
            _played().answer(message, None, Lost("the connection was closed"))
            return
        self._heard[message] = None
        self.process.spawn(message.method, self._hear, connection, message, key=mix(message.key, 2))

    def _hear(self, connection: Connection, message: Message) -> None:
        if connection.ended or self.ended:  # before the request was read
            return
        if message.method == _HELLO:
            self._greet(connection)
            self.answer(connection, message, None)
        else:
            _played().begins(message.method)
            self._say("begins", message, shown(message.method, message.args))
            self._serve(connection, message)

    def answer(self, connection: Connection, message: Message, value: Any) -> None:
        """Answer a request, unless its connection has ended."""
        if message in self._heard and not connection.ended:
            del self._heard[message]
            self._say("ends", message, f"{message.method}: {answer(value, None)}")
            _played().answer(message, value, None)

    def _say(self, what: str, message: Message, how: str) -> None:
        network = _played()
        if network.traced and message.method != _HELLO:
            network.say(self.process, f"{what} {how} by its port for {message.caller}")

    def end(self) -> None:
        """Listen no more, and end all connections. Harmless to repeat."""
        self.ended = True
        heard, self._heard = self._heard, {}
        for message in heard:
            _played().answer(message, None, Lost("the connection was reset"))


class Connection:
    """A connection of the running process. The network takes it for the actor that its requests are sent to."""

    def __init__(self, to: Listening) -> None:
        self.to, self.name, self.machine = to, to.name, to.machine
        self.line = b""
        """The name that the client gave it, if it has one."""
        self.broken = False  # as the client sees it
        self.ended = False  # as the server sees it
        self.under_way = 0  # calls that the server makes
        self._asked: Future | None = None  # the answer that the client waits for

    def send(self, method: str, args: tuple[Any, ...]) -> Future:
        """Send a request; its answer is to come. If the connection breaks, that raises Lost."""
        network = _played()
        message = network.call(self, method, args, once=True)
        if method != _HELLO and network.breaks(message):
            now, scheduler = network.scheduler.now, network.scheduler
            when, on_its_way, learns = (mix(message.key, number) / 2**64 for number in (31, 32, 33))
            message.held_until = now + max(0.0, 2 * on_its_way - 1) * _ON_ITS_WAY
            scheduler.at(now + _BREAKS * when, self._break)
            scheduler.at(now + _TO_LEARN * learns, self.end)
        self._asked = message.future
        return message.future

    def _break(self) -> None:
        self.broken = True
        if self._asked is not None:
            self._asked.set(error=Lost("the connection broke"))

    def take(self, message: Message) -> None:
        """Have the server take a request that has arrived."""
        self.to.take(self, message)

    def close(self) -> None:
        """Close the client's side. The server learns of it later."""
        self.broken = True
        scheduler = _played().scheduler
        task = running()
        if task is not None and not scheduler.over:
            scheduler.at(scheduler.now + _TO_LEARN * task.draw(), self.end)

    def end(self) -> None:
        """End the server's side: it hears no more requests. The client learns of it. Harmless to repeat."""
        if not self.ended:
            self.ended, scheduler = True, _played().scheduler
            scheduler.at(scheduler.now + _BREAKS, self._break)


def told(answer: Future, patience: float | None = None) -> Any:
    """The answer of a request.

    Raises
    ------
    Lost
        A new one: the answer's own would hold what its callers hold, as long as the message is known to anybody.
    Silent
        It does not come in time.
    """
    try:
        return answer.get(patience)
    except TimeoutError:
        raise Silent("the server does not answer") from None
    except Lost as error:
        error.__traceback__ = None
        raise Lost(str(error)) from None


def connect(where: tuple[str, int], line: bytes = b"") -> Connection:
    """Connect to a server.

    Parameters
    ----------
    where
        Host and port.
    line
        The name of the connection.

    Raises
    ------
    Lost, Silent
    """
    network, task, to = _played(), running(), _listening[where[1]]
    assert task is not None
    here = task.process.node
    if network.closed_until(here, to.machine) or network.closed_until(to.machine, here):
        network.scheduler.sleep(_CONNECT)
        raise Silent(f"{to.name} cannot be reached")
    connection = Connection(to)
    connection.line = line
    try:
        told(connection.send(_HELLO, ()), PATIENCE)
    except Lost:
        connection.end()
        raise
    return connection


def is_gone(former: bytes) -> bool:
    """Stands for `answering._is_gone`."""
    where, network, task = address(former), _played(), running()
    if where is None:
        return True
    assert task is not None
    to: Listening = _listening[int(where[1])]
    if network.closed_until(task.process.node, to.machine):
        network.scheduler.sleep(1.0)
        return False
    network.scheduler.step()
    return to.ended
