"""The server's side of the looker: starts it, asks it, and starts another if it ended or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from outlive.dashboard.sources import Progress, SourceError

_PATIENCE = 60.0  # seconds for an answer. The GCS alone gets 10
_LONGEST = 1 << 28  # bytes of an answer
_LEFT_BEHIND = 20.0  # seconds
_ALIVE = {"about", "workers", "nodes"}  # an answer to one of these shows that the cluster is there
_ENDLESS = {"drain", "trim"}  # as long as the looker lives
_LAST_WORDS = 400  # characters of what it printed, for the message
_LAST_WORDS_WITHIN = 1.0  # seconds


class _Question:
    def __init__(self, method: str, progress: Progress | None, process: asyncio.subprocess.Process) -> None:
        self.method, self.progress, self.process = method, progress, process
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Child:
    """Asks a looker, which is started when it is first asked.

    Parameters
    ----------
    command
        What to run: it has to call `looker.run`.
    patience
        Seconds for an answer. A looker that has not answered until then is ended, unless it is at work.
    left_behind
        Seconds for which a looker that saw the cluster may say that it does not, until another is started.
    """

    def __init__(self, command: Sequence[str], patience: float = _PATIENCE, left_behind: float = _LEFT_BEHIND) -> None:
        self._command, self._patience, self._left_behind = command, patience, left_behind
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Question] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._said = ""  # what the looker printed last
        self._closed = False
        self._seen = False  # this looker has seen the cluster
        self._failing_since: float | None = None

    async def ask(self, method: str, *args: Any, progress: Progress | None = None) -> Any:
        """The answer. Raises SourceError."""
        process = await self._running()
        number, question = next(self._numbers), _Question(method, progress, process)
        self._waiting[number] = question
        try:
            return await self._answer(question, number, args)
        except SourceError:
            self._end_if_left_behind(process, method)
            raise
        finally:
            self._waiting.pop(number, None)
            if not question.answer.done():
                question.answer.cancel()
            elif not question.answer.cancelled():
                question.answer.exception()  # has been seen

    async def _answer(self, question: _Question, number: int, args: tuple[Any, ...]) -> Any:
        process, method = question.process, question.method
        try:
            assert process.stdin is not None
            with contextlib.suppress(ConnectionError):  # it has ended: its last answer says so
                process.stdin.write(json.dumps([number, method, args]).encode() + b"\n")
                await asyncio.wait_for(process.stdin.drain(), self._patience)  # one that is stopped reads nothing
            wait = None if method in _ENDLESS else self._patience
            found = await asyncio.wait_for(asyncio.shield(question.answer), wait)
        except asyncio.TimeoutError:
            if not self._is_at_work():
                self._end(process)  # the next question starts another
            raise SourceError(f"the cluster did not answer within {self._patience:.0f} s") from None
        if method in _ALIVE:
            self._seen, self._failing_since = True, None
        return found

    def _is_at_work(self) -> bool:
        return any(one.method in _ENDLESS for one in self._waiting.values())

    def _end_if_left_behind(self, process: asyncio.subprocess.Process, method: str) -> None:
        """End a looker that saw the cluster, and sees it no more: it may hold on to one that was replaced."""
        if method not in _ALIVE or not self._seen or self._process is not process:
            return
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if now - self._failing_since >= self._left_behind and not self._is_at_work():
            self._end(process)

    async def close(self) -> None:
        """End the looker at once, and wait for its end and for that of earlier ones."""
        self._closed = True
        if self._process is not None:
            self._end(self._process)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * _LAST_WORDS_WITHIN)  # each ends with its looker
        for task in self._tasks:
            task.cancel()

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._lock:
            if self._closed:
                raise SourceError("the dashboard ends")
            if self._process is None:
                self._said, self._seen, self._failing_since = "", False, None
                pipe = asyncio.subprocess.PIPE
                try:
                    self._process = await asyncio.create_subprocess_exec(
                        *self._command, stdin=pipe, stdout=pipe, stderr=pipe, limit=_LONGEST,
                        start_new_session=True,  # Ctrl-C is for the server, which ends it
                    )  # fmt: skip
                except OSError as error:  # no memory, no descriptor, no process left
                    raise SourceError(f"the process that asks the cluster cannot be started: {error}") from None
                words = self._spawn(self._read_words(self._process))
                self._spawn(self._read_answers(self._process, words))
            return self._process

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _end(self, process: asyncio.subprocess.Process) -> None:
        """End a looker, and ask it nothing more: it may take a moment to die."""
        if self._process is process:
            self._process = None
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    async def _read_answers(self, process: asyncio.subprocess.Process, words: asyncio.Task[None]) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                number, kind, value = json.loads(line)
                question = self._waiting.get(number)
                if question is None or question.answer.done():
                    continue
                if kind == "progress":
                    if question.progress is not None:
                        question.progress(*value)
                elif kind == "answer":
                    question.answer.set_result(value)
                else:
                    question.answer.set_exception(SourceError(value))
        finally:
            self._end(process)
            code = await process.wait()
            await asyncio.wait({words}, timeout=_LAST_WORDS_WITHIN)  # another process may hold its stderr
            last = f": {self._said[-_LAST_WORDS:].strip()}" if self._said.strip() else ""
            for question in list(self._waiting.values()):
                if question.process is process and not question.answer.done():
                    text = f"the process that asks the cluster has ended ({_told(code)}){last}"
                    question.answer.set_exception(SourceError(text))

    async def _read_words(self, process: asyncio.subprocess.Process) -> None:
        """Keep the last of what it prints: it explains its end."""
        assert process.stderr is not None
        while chunk := await process.stderr.read(4096):
            self._said = (self._said + chunk.decode(errors="replace"))[-2000:]


def _told(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
