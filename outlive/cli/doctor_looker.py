"""The process that looks for `outlive doctor --watch`, so that the watch outlives what ends it.

A look may join the cluster, and Ray ends a process that joined a cluster and has lost it for a minute. Then another is
started for the next look.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from outlive.errors import OutliveError

Found = TypeVar("Found")
_WORDS_WITHIN = 5.0  # seconds for an ended process to say how it ended


class LookerEnded(OutliveError):
    """The process that looks has ended. The next look starts another."""


class Looker(Generic[Found]):
    """Calls a function in a process of its own, again and again. That process ends with this one.

    Parameters
    ----------
    look
        A function that can be pickled; so can its results.
    """

    def __init__(self, look: Callable[[], Found]) -> None:
        self._look = look
        self._process: BaseProcess | None = None
        self._line: Connection | None = None

    def look(self) -> Found:
        """Call the function there; its result.

        Raises
        ------
        LookerEnded
            The process ended before it answered.
        Exception
            What the function raised.
        """
        try:
            line = self._started()
            line.send(None)
            found, error = line.recv()
        except (EOFError, ConnectionError):
            raise LookerEnded(
                f"the process that looks has ended ({self._end()}): Ray ends one that has lost its cluster for a "
                "minute. The next look starts another"
            ) from None
        except BaseException:  # an interrupt: its answer would be taken for that to the next question
            self.close()
            raise
        if error is not None:
            raise error
        return found  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process. Harmless to repeat."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def _started(self) -> Connection:
        if self._line is None:
            spawn = multiprocessing.get_context("spawn")
            line, theirs = spawn.Pipe()
            process = spawn.Process(target=_run, args=(theirs, self._look), name="outlive-look", daemon=True)
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the process inherits it, as it starts
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            self._process, self._line = process, line
        return self._line

    def _end(self) -> str:
        """Wait for the end of a process that ends, and tell how it ended."""
        process, line, self._process, self._line = self._process, self._line, None, None
        if line is not None:
            line.close()
        if process is None:
            return "it did not start"
        process.join(_WORDS_WITHIN)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
            return "it did not answer"
        return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _run(line: Connection, look: Callable[[], Any]) -> None:
    """Answer questions until the other side is gone. Ctrl-C is for the other side, which ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            line.recv()
            line.send(_answer(look))


def _answer(look: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return look(), None
    except Exception as error:  # noqa: BLE001 - the other side raises it
        return None, _sendable(error)


def _sendable(error: Exception) -> Exception:
    """This error, or one with its words if another process could not read it."""
    with contextlib.suppress(Exception):
        if str(pickle.loads(pickle.dumps(error))) == str(error):  # noqa: S301 - our own
            return error
    return OutliveError(f"{type(error).__name__}: {error}")
