"""The server of a local store: each connection has a thread, which makes the calls that come by it, in their order."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from outlive.cluster.port import Failed
from outlive.errors import OutliveError, UnsafeRoot
from outlive.local.channel import Channel, Ended, listen
from outlive.local.questions import KEEPER, About, Question

_log = logging.getLogger(__name__)


class Server:
    """Listens at `path` from now on. `over` is called once a call has ended the store, and was answered."""

    def __init__(self, path: str, about: About, keeper: object, catalog: object, over: Callable[[], None]) -> None:
        self._about, self._keeper, self._catalog, self._over = about, keeper, catalog, over
        self._listener = listen(path)
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                channel = Channel(connection)
            except UnsafeRoot as error:
                _log.warning("%s", error)
                continue
            except OSError as error:
                if self._listener.fileno() < 0:
                    return
                _log.warning("a connection could not be taken: %s", error)
                threading.Event().wait(0.1)  # too many are open: some may end
                continue
            try:
                threading.Thread(target=self._serve, args=(channel,), name="calls", daemon=True).start()
            except (OSError, RuntimeError) as error:  # the system has no more threads: some may end
                _log.warning("no thread for a connection: %s", error)
                channel.close()

    def _serve(self, channel: Channel) -> None:
        with contextlib.suppress(Ended), contextlib.closing(channel):
            channel.send(self._about)
            while True:
                question: Question = channel.receive()
                answer = self._made(question)
                try:
                    if not question.is_told:
                        self._answer(channel, answer)
                finally:  # whoever asked may be gone
                    if question.whom == KEEPER and question.call.method == "close":
                        self._over()

    def _made(self, question: Question) -> tuple[bool, Any]:
        whom = self._keeper if question.whom == KEEPER else self._catalog
        try:
            return True, getattr(whom, question.call.method)(*question.call.args)
        except OutliveError as error:
            return False, error
        except Exception as error:  # noqa: BLE001 - the caller is told
            _log.exception("%s failed", question.call.method)
            return False, Failed(f"{question.call.method} failed: {type(error).__name__}: {error}")

    def _answer(self, channel: Channel, answer: tuple[bool, Any]) -> None:
        try:
            channel.send(answer)
        except Ended:
            raise
        except Exception as error:  # noqa: BLE001 - it cannot be pickled
            channel.send((False, Failed(f"an answer cannot be sent: {error}")))
