"""A worker that leaves after the task that took it over a limit: `@recycle`, Celery's `worker_max_memory_per_child`."""

from __future__ import annotations

import functools
import gc
import inspect
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from outlive.errors import BadSetting
from outlive.ray_internals import functions, marks
from outlive.workers.sizes import format_bytes, format_seconds, parse_bytes, parse_seconds

F = TypeVar("F")

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LUCK = random.Random()  # noqa: S311 - one number per process, so that not all are as old at the same moment


@dataclass(frozen=True)
class Limits:
    """When a worker leaves."""

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

    Parameters
    ----------
    max_memory
        As in "2GiB": unique memory (USS) of the worker at the end of a task, its result included.
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
        No limit or a bad one is given. In the task: `max_memory` is below what a worker has before its first task, so
        that every worker would leave after every task; the message says how much that is.
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
        max_memory=None if max_memory is None else parse_bytes(max_memory, "max_memory"),
        max_age=None if max_age is None else parse_seconds(max_age, "max_age"),
        jitter=jitter,
    )

    def decorate(remote_function: F) -> F:
        function, options = functions.unwrapped(remote_function)
        options["max_calls"] = options.get("max_calls") or functions.NEVER
        made: F = functions.remote(_limited(function, limits), options)
        return made

    return decorate


def _limited(function: Callable[..., Any], limits: Limits) -> Callable[..., Any]:
    """`function`, and afterwards a look at the limits."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*args: Any, **kwargs: Any) -> Any:
            _refuse_if_too_low(limits)
            try:
                yield from function(*args, **kwargs)
            finally:
                _leave_if_over(limits)

        return generate

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _refuse_if_too_low(limits)
        try:
            return function(*args, **kwargs)
        finally:
            _leave_if_over(limits)

    return call


def _refuse_if_too_low(limits: Limits) -> None:
    """Before a worker's first task: a limit that it exceeds already would end every worker after every task."""
    if limits.max_memory is None or not functions.in_pooled_worker() or functions.tasks_run():
        return
    bare = unique_memory()
    if bare >= limits.max_memory:
        raise BadSetting(
            f"recycle(max_memory={format_bytes(limits.max_memory)!r}) is below the {format_bytes(bare)} that a worker "
            f"has here before its first task, so that every worker would leave after every task; set it to "
            f"{format_bytes(2 * bare)} or more"
        )


def _leave_if_over(limits: Limits) -> None:
    if not functions.in_pooled_worker():
        return
    reason = _over(limits)
    if reason is None:
        return
    if marks.held_references():
        marks.mark_leaving(reason)
    functions.end_worker_after_this_task()


def _over(limits: Limits) -> str | None:
    """Which limit this process is over, in words."""
    if limits.max_memory is not None and _resident() > limits.max_memory and unique_memory() > limits.max_memory:
        gc.collect()  # garbage that comes back by itself is no reason to leave
        if unique_memory() > limits.max_memory:
            return f"recycle(max_memory={format_bytes(limits.max_memory)})"
    if limits.max_age is not None and _age() > limits.max_age * (1 + limits.jitter * _luck()):
        return f"recycle(max_age={format_seconds(limits.max_age)})"
    return None


def unique_memory() -> int:
    """Bytes that come back when this process ends (USS)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


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
