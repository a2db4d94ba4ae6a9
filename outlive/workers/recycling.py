"""`@recycle`: a worker leaves after the task that took it over a limit, like Celery's `worker_max_memory_per_child`."""

from __future__ import annotations

import functools
import gc
import inspect
import logging
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from outlive.errors import BadSetting
from outlive.memory import unique_memory
from outlive.metrics import tallied
from outlive.ray_internals import functions, marks
from outlive.units import format_duration, format_size, parse_duration, parse_size

F = TypeVar("F")

_log = logging.getLogger(__name__)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LUCK = random.Random()  # noqa: S311 - one number per process, so that not all are as old at the same moment


@dataclass(frozen=True)
class Limits:
    """The limits above which a worker leaves."""

    max_memory: int | None
    max_age: float | None
    jitter: float


def recycle(
    *, max_memory: str | int | None = None, max_age: str | float | None = None, jitter: float = 0.1
) -> Callable[[F], F]:
    """Let the worker leave after a task that took it over a limit. Goes above `@ray.remote`.

    The worker ends as if it had reached `max_calls`: the task's result is delivered, nothing is retried or logged as a
    crash, and the next task gets another worker. If it owns live objects it takes no more tasks and ends once they are
    gone, as Ray does at `max_calls`; `outlive workers` then says so.

    Recycling never changes what a task returns or raises. If it fails, that is logged, and the worker stays.

    Parameters
    ----------
    max_memory
        As in "2GiB": unique memory (USS) of the worker at the end of a task, its arguments and result included. A limit
        that a new worker exceeds before its first task is logged with what was measured, and is not applied there: the
        next worker would be as large.
    max_age
        As in "1h": time since the worker started.
    jitter
        Each worker's `max_age` is longer by a random share of up to this much: a fleet then does not restart at once.

    Returns
    -------
    callable
        Takes a remote function, and returns one with the same options.

    Raises
    ------
    BadSetting
        No limit or a bad one is given.
    TypeError
        What is decorated is no remote function.

    Examples
    --------
    >>> @outlive.workers.recycle(max_memory="2GiB", max_age="1h")  # doctest: +SKIP
    ... @ray.remote(num_cpus=1)
    ... def leaky(scan): ...
    """
    if max_memory is None and max_age is None:
        raise BadSetting("nothing to recycle by: give max_memory, max_age, or both")
    if not 0 <= jitter <= 1:
        raise BadSetting(f"jitter={jitter} is a share of max_age: 0 to 1")
    limits = Limits(
        max_memory=None if max_memory is None else parse_size(max_memory, "max_memory"),
        max_age=None if max_age is None else parse_duration(max_age, "max_age"),
        jitter=jitter,
    )

    def decorate(remote_function: F) -> F:
        function, options = functions.unwrapped(remote_function)
        options["max_calls"] = options.get("max_calls") or functions.NEVER
        made: F = functions.remote(_limited(function, limits), options)
        return made

    return decorate


class _AtFirst:
    """The memory of this process when it loaded the function: that of a bare worker, if it had run no task.

    It travels in the function's closure and is made anew in each worker. Ray loads the function before it reads the
    arguments, so a large argument is not counted.
    """

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory
        """Bytes; None if the worker had run other tasks, or its memory could not be read."""

    def __reduce__(self) -> tuple[Callable[[], _AtFirst], tuple[()]]:
        return _at_first, ()


def _at_first() -> _AtFirst:
    try:
        bare = functions.in_pooled_worker() and functions.loaded_none()
        return _AtFirst(unique_memory() if bare else None)
    except Exception:  # noqa: BLE001 - logged: it must not fail the task
        _log.exception("the memory of a new worker could not be read")
        return _AtFirst()


def _limited(function: Callable[..., Any], limits: Limits) -> Callable[..., Any]:
    """`function`, and afterwards a look at the limits."""
    first = _AtFirst()
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*args: Any, **kwargs: Any) -> Any:
            try:
                return (yield from function(*args, **kwargs))
            finally:
                _leave_if_over(limits, first)

        return generate

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            _leave_if_over(limits, first)

    return call


def _leave_if_over(limits: Limits, first: _AtFirst) -> None:
    """Let this worker leave if it is over a limit. A failure is only logged: the task's own outcome is delivered."""
    try:
        if not functions.in_pooled_worker():
            return
        reason = _over(_that_can_hold(limits, first))
        if reason is None:
            return
        functions.end_worker_after_this_task()
        if marks.held_references():
            marks.mark_leaving(reason)
        tallied.recycled()
    except Exception:  # noqa: BLE001 - logged: the task's own outcome goes out
        _log.exception("this worker could not be recycled, and stays")


def _that_can_hold(limits: Limits, first: _AtFirst) -> Limits:
    """The limits without a `max_memory` that a new worker exceeds: all workers would leave after each task, in vain."""
    if limits.max_memory is None or first.memory is None or first.memory < limits.max_memory:
        return limits
    _log_once(
        f"recycle(max_memory={format_size(limits.max_memory)!r}) is not applied: it is below the "
        f"{format_size(first.memory)} that a worker has here before its first task. Set it to "
        f"{format_size(2 * first.memory)} or more"
    )
    return replace(limits, max_memory=None)


@functools.cache
def _log_once(message: str) -> None:
    """Log a warning once in this process. Ray shows what a worker logs in its driver."""
    _log.warning(message)


def _over(limits: Limits) -> str | None:
    """Names the limit that this process is over."""
    if limits.max_memory is not None and _resident() > limits.max_memory and unique_memory() > limits.max_memory:
        gc.collect()  # collect garbage first: memory that comes back by itself is no reason to leave
        if unique_memory() > limits.max_memory:
            return f"recycle(max_memory={format_size(limits.max_memory)})"
    if limits.max_age is not None and _age() > limits.max_age * (1 + limits.jitter * _luck()):
        return f"recycle(max_age={format_duration(limits.max_age)})"
    return None


def _resident() -> int:
    """RES in bytes: an upper bound of the unique memory that costs microseconds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _age() -> float:
    """Seconds since this process started."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


@functools.cache
def _luck() -> float:
    """This worker's share of the jitter, the same for its whole life."""
    return _LUCK.random()
