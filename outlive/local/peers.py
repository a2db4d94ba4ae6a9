"""The port of a process that uses a local store: it asks the keeper's process, by the socket in the store's folder."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from outlive import progress
from outlive.cluster.port import PATIENCE, Call, Left, NoAnswer, Nobody
from outlive.cluster.tenure import PROTOCOL
from outlive.errors import StoreUnavailable
from outlive.local.channel import Channel, Ended, connect
from outlive.local.one_node import OneNode
from outlive.local.place import Place
from outlive.local.questions import CATALOG, KEEPER, About, Question
from outlive.local.starting import start

_KEPT = 4  # idle connections; more threads than these may ask at a time
_RESTART = 40.0  # seconds for the keeper's process to say that it is there, before it counts as stopped
_AGAIN = 0.01  # seconds until a keeper's process that takes no connection is tried again


class LocalPeers(OneNode):
    """Any thread may use it. A forked child makes connections of its own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._idle: list[Channel] = []
        self._pid = os.getpid()
        self._about: About | None = None
        self.node_id = place.node

    # --- the keeper's process

    def find(self) -> About:
        """Find the keeper's process, or start it; what it says of itself.

        Raises
        ------
        StoreUnavailable
            It cannot be started, or takes no connection, or is of another version.
        """
        deadline = time.monotonic() + _RESTART
        while True:
            try:
                self._give_back(self._connect(anew=True))
                return self.about
            except Nobody:
                if time.monotonic() > deadline:  # it listens, and has no thread or file for one more
                    raise
            start(self._place)
            time.sleep(_AGAIN)

    @property
    def about(self) -> About:
        assert self._about is not None
        return self._about

    def answers(self) -> bool:
        """Whether the keeper's process that this one found is there."""
        try:
            self._ask(Question(KEEPER, Call.of("rounds")), _RESTART)
        except Nobody:
            return False
        return True

    def find_keeper(self, node: str, *, start: bool = False) -> None:
        self.see(node)
        before = self._about
        if not start:
            self._give_back(self._connect())
        elif before is not None and not os.path.exists(before.shelf):
            raise Left(f"the store was shut down, or {before.shelf} was removed; call outlive.open(local=True) again")
        else:
            self.find()

    def hang_up(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.pop().close()

    # --- calls

    def ask_keeper(self, node: str, call: Call, patience: float | None = PATIENCE) -> Any:
        self.see(node)
        return self._ask(Question(KEEPER, call), patience)

    def ask_catalog(self, call: Call, patience: float | None = PATIENCE) -> Any:
        return self._ask(Question(CATALOG, call), patience)

    def tell_catalog(self, call: Call) -> None:
        channel = self._take()
        try:
            self._send(channel, Question(CATALOG, call, is_told=True), PATIENCE)
        except Ended:
            channel.close()
            return
        except BaseException:
            channel.close()
            raise
        self._give_back(channel)

    def _ask(self, question: Question, patience: float | None) -> Any:
        channel = self._take()
        try:
            self._send(channel, question, _RESTART if patience is None else patience)
            self._wait(channel, patience)
            is_right, answer = channel.receive()
        except Ended as error:
            channel.close()
            raise Nobody(f"the keeper of {self._place.folder} ended meanwhile") from error
        except BaseException:  # an interrupt: an answer may come that is not of the next question
            channel.close()
            raise
        self._give_back(channel)
        if not is_right:
            raise answer
        return answer

    def _send(self, channel: Channel, question: Question, seconds: float) -> None:
        try:
            channel.send(question, seconds)
        except TimeoutError:
            raise self._silent(seconds) from None

    def _wait(self, channel: Channel, patience: float | None) -> None:
        """Wait for an answer, as long as the keeper's process does others' work meanwhile. Raises NoAnswer."""
        began = time.monotonic()
        look_at = began + PATIENCE if patience is None else began + patience
        while not channel.is_ready(progress.pause(max(0.0, look_at - time.monotonic()))):
            progress.tick()
            if time.monotonic() < look_at:
                continue
            if patience is not None:
                raise self._silent(patience)
            other = self._connect()
            with contextlib.closing(other):
                self._send(other, Question(KEEPER, Call.of("rounds")), _RESTART)
                if not other.is_ready(_RESTART):
                    raise self._silent(_RESTART)
            look_at = time.monotonic() + PATIENCE

    def _silent(self, seconds: float) -> NoAnswer:
        pid = "" if self._about is None else f", process {self._about.pid},"
        return NoAnswer(
            f"the keeper of {self._place.folder}{pid} did not answer within {seconds:.0f} s: it may be stopped. Let it "
            "go on (kill -CONT), or end it: another is started, and no array is lost"
        )

    # --- connections

    def _take(self) -> Channel:
        if self._pid != os.getpid():  # a forked child has its parent's connections closed
            self._idle, self._pid = [], os.getpid()
        while True:
            try:
                channel = self._idle.pop()
            except IndexError:
                return self._connect()
            if not channel.is_ready(0):
                return channel
            channel.close()  # the keeper's process has ended since

    def _give_back(self, channel: Channel) -> None:
        if len(self._idle) < _KEPT:
            self._idle.append(channel)
        else:
            channel.close()

    def _connect(self, *, anew: bool = False) -> Channel:
        """A new connection. Raises Nobody; and Left, if not `anew`, where the store is another than before."""
        try:
            channel = connect(self._place.socket)
        except TimeoutError:
            raise self._silent(PATIENCE) from None
        except OSError as error:
            raise Nobody(f"{self._place.folder} has no keeper: {error}") from None
        try:
            if not channel.is_ready(_RESTART):
                raise self._silent(_RESTART)
            about = channel.receive()
        except BaseException as error:
            channel.close()
            if isinstance(error, Ended):
                raise Nobody(f"the keeper of {self._place.folder} has just ended") from error
            raise
        before = self._about
        if about.protocol != PROTOCOL:
            channel.close()
            raise StoreUnavailable(
                f"the keeper of {self._place.folder} (process {about.pid}) speaks protocol {about.protocol}, this "
                f"version of outlive {PROTOCOL}: use the same version in all programs, or end that process"
            )
        if before is not None and not anew and about.shelf != before.shelf:
            channel.close()
            raise Left(f"the store {before.shelf} was shut down; call outlive.open(local=True) again")
        self._about, self.node_id = about, about.node
        return channel
