"""Chunks that a program sets at the same time are written together, so that the catalog is asked once for all of them.

zarr writes the chunks of an array by coroutines that run at the same time. The first of them starts a task, which runs
once the others have said what they write.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import NamedTuple

from outlive.errors import StoreUnavailable
from outlive.zarr.chunks import Array, Chunks

MOST_BYTES = 16 << 20  # that are written together: all of them need room beside the chunks that they replace
MOST_CHUNKS = 256
_AT_ONCE = 4  # threads that write for one event loop


class _Waiting(NamedTuple):
    """A chunk that is to be written, and whom to tell."""

    key: str
    value: Array
    done: asyncio.Future[None]


class Together:
    """Writes chunks for the coroutines of any number of event loops."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = weakref.WeakKeyDictionary()

    async def write(self, key: str, value: Array) -> None:
        """Write one chunk, with others that are set now. Each succeeds or fails by itself: see `Chunks.write`."""
        if value.nbytes >= MOST_BYTES:
            await asyncio.to_thread(self._chunks.write, key, value)
            return
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None or line.pid != os.getpid():  # a forked child has none of the tasks
            line = self._lines[loop] = _Line(self._chunks)
        await line.write(key, value)


class _Line:
    """The chunks that wait in one event loop, which alone uses this."""

    def __init__(self, chunks: Chunks) -> None:
        self.pid = os.getpid()
        self._chunks = chunks
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def write(self, key: str, value: Array) -> None:
        one = _Waiting(key, value, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        if len(self._tasks) < _AT_ONCE:
            self._tasks.add(asyncio.create_task(self._work()))
        await one.done

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            while some := self._take():
                await self._write(some)
        finally:
            self._tasks.discard(task)  # in the step that found nothing: whoever comes later starts another

    async def _write(self, some: list[_Waiting]) -> None:
        try:
            errors = await asyncio.to_thread(_write, self._chunks, some)
        except BaseException as error:
            for one in (*some, *self._waiting):  # the loop ends
                _tell(one, error)
            self._waiting.clear()
            raise
        for one, failure in zip(some, errors, strict=True):
            _tell(one, failure)

    def _take(self) -> list[_Waiting]:
        """The first chunks that wait and may be written together. A key is among them once.

        Those whose callers have given up are not written: the memory may be used for something else by now.
        """
        some: dict[str, _Waiting] = {}
        nbytes = looked_at = 0
        for one in self._waiting:
            if not one.done.done():
                nbytes += one.value.nbytes
                if some and (one.key in some or nbytes > MOST_BYTES or len(some) == MOST_CHUNKS):
                    break
                some[one.key] = one
            looked_at += 1
        del self._waiting[:looked_at]
        return list(some.values())


def _write(chunks: Chunks, some: list[_Waiting]) -> list[Exception | None]:
    """Write these chunks, and return the error of each."""
    if len(some) > 1:
        try:
            chunks.write_many({one.key: one.value for one in some})
        except Exception:  # noqa: BLE001, S110 - one may have no room, or a bad key, and may not harm the others
            pass
        else:
            return [None] * len(some)
    errors = list[Exception | None]()
    for one in some:
        if one.done.done():  # given up since: see `_take`. Its key may have a later value by now
            errors.append(None)
            continue
        silent = [error for error in errors if isinstance(error, StoreUnavailable)]
        # each waits long: if two get no answer, so do the others
        errors.append(silent[-1] if len(silent) > 1 else _failure(chunks, one))
    return errors


def _failure(chunks: Chunks, one: _Waiting) -> Exception | None:
    try:
        chunks.write(one.key, one.value)
    except Exception as error:  # noqa: BLE001 - `set` raises it
        return error
    return None


def _tell(one: _Waiting, failure: BaseException | None) -> None:
    if one.done.done():  # whoever waited was cancelled
        return
    if failure is None:
        one.done.set_result(None)
    elif isinstance(failure, Exception):
        one.done.set_exception(failure)
    else:
        one.done.cancel()
