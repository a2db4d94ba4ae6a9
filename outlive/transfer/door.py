"""The door of a server: how many connections come in, and only those that show a proof.

A connection shows its proof to a thread of its own, so that the server waits for nobody. If there are too many, the one
that has asked for nothing for longest ends: its process opens it again when it needs it. But it does so only once the
new one has shown its proof.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence

from outlive.arrays.lock import no_fork
from outlive.transfer import proof, wire
from outlive.transfer.channel import Channel, Lost, close_in_child
from outlive.transfer.settings import Tls

_MOST_UNPROVEN = 32  # connections that have not shown a proof yet
_log = logging.getLogger(__name__)


class Counts:
    """Counters since the server began."""

    sent = 0  # bytes of files
    refused = 0  # connections without a proof
    full = 0  # connections that were turned away, as there were too many


class Door:
    """Listens at one address.

    Parameters
    ----------
    host, ports
        The first of the ports that is free is taken.
    name
        The server's name. A client that looks for another is refused.
    secret
        Returns the cluster's secret.
    most
        Connections that may be open at a time.
    may_end
        Whether a connection could end for another. Called by whoever calls `take_one`.
    end_idle
        Ends the connection that has asked for nothing for longest, if there is one. Called by any thread.
    tls
        None: no TLS.

    Raises
    ------
    OSError
        It can listen at none of the ports.
    """

    def __init__(
        self,
        host: str,
        ports: Sequence[int],
        *,
        name: str,
        secret: Callable[[], bytes],
        most: int,
        may_end: Callable[[], bool],
        end_idle: Callable[[], None],
        tls: Tls | None,
    ) -> None:
        self._name, self._secret, self._tls = name, secret, tls
        self._most, self._may_end, self._end_idle = most, may_end, end_idle
        self.counts = Counts()
        self.unproven = 0
        """How many connections have not shown their proof yet."""
        self._outside, self._inside = set[Channel](), set[Channel]()
        self._lock = threading.Lock()
        self.listener = listen(host, ports)
        self.host, self.port = host, int(self.listener.getsockname()[1])

    def take_one(self, pause: float, go_on: Callable[[Channel], None]) -> None:
        """Take the next connection, if there is one, and call `go_on` in its thread once it has shown its proof.

        Parameters
        ----------
        pause
            Seconds to wait after an error, before the next try.
        """
        connection = accept(self.listener, pause)
        if connection is None:
            return
        with self._lock:
            full = self.unproven >= _MOST_UNPROVEN or (
                len(self._inside) + self.unproven >= self._most and not self._may_end()
            )
            self.unproven += not full
        if full:
            self._turn_away(connection)
            return
        try:
            threading.Thread(target=self._admit, args=(connection, go_on), name="admit", daemon=True).start()
        except (OSError, RuntimeError) as error:  # the system has no more threads
            _log.debug("no thread for a connection: %s", error)
            with self._lock:
                self.unproven -= 1
            self._turn_away(connection)

    def left(self, channel: Channel) -> None:
        """Note that a connection has ended that was let in."""
        with self._lock:
            self._inside.discard(channel)

    def abort_all(self) -> None:
        """Make all connections end at once."""
        with self._lock:
            every = [*self._outside, *self._inside]
        for channel in every:
            channel.abort()

    def _admit(self, connection: socket.socket, go_on: Callable[[Channel], None]) -> None:
        channel: Channel | None = None
        inside = False
        try:
            channel = Channel(connection)
            with self._lock:
                self._outside.add(channel)
            proof.admit(channel, self._name, self._secret(), self._tls)
            inside = True
        except Lost as error:
            with self._lock:
                self.counts.refused += 1
            _log.debug("a connection was refused: %s", error)
        except Exception as error:  # noqa: BLE001 - it ends this connection only
            _log.debug("a connection ended: %s", error)
        finally:
            with self._lock:
                self.unproven -= 1
                if channel is not None:
                    self._outside.discard(channel)
                if channel is not None and inside:
                    self._inside.add(channel)
                too_many = len(self._inside) > self._most
        if channel is None:
            connection.close()
        elif not inside:
            channel.close(throw_away=True)
        else:
            if too_many:
                self._end_idle()
            go_on(channel)

    def _turn_away(self, connection: socket.socket) -> None:
        """Close a connection that is one too many. The client is told so, except with TLS, which needs a handshake."""
        with self._lock:
            self.counts.full += 1
        with contextlib.suppress(OSError):
            if self._tls is None:
                connection.settimeout(0)  # so few bytes are sent at once, or not at all
                connection.send(wire.FULL)
        connection.close()


def accept(listener: socket.socket, pause: float) -> socket.socket | None:
    """The next connection, which is closed in a forked child; None if there is none. After an error, a pause first."""
    try:
        with no_fork():
            return close_in_child(listener.accept()[0])
    except BlockingIOError:
        return None
    except OSError as error:  # the client has gone, or this process has no more descriptors
        _log.debug("no connection: %s", error)
        time.sleep(pause)
        return None


def listen(host: str, ports: Sequence[int]) -> socket.socket:
    """A socket that listens at the first of these ports that is free. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    error: OSError | None = None
    for port in ports:
        with no_fork():
            listener = close_in_child(socket.socket(family, socket.SOCK_STREAM))
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(128)
            listener.setblocking(False)
            return listener
        except OSError as raised:
            listener.close()
            error = raised
    assert error is not None, "no ports"
    raise error
