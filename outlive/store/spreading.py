"""Spreading: calls that read or write an archive, made on the nodes that have, or are to have, the arrays.

Each call is made by a task on its node, and in this process if it is for this node. Where a node cannot do it, because
it does not see the folder, lacks the package or the right to write there, or dies, this process does it.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from outlive import progress
from outlive.errors import ArchiveUnavailable, MissingPackage, OutliveError
from outlive.store import session as sessions
from outlive.store.ray_in_use import ray_errors

if TYPE_CHECKING:
    from outlive.archive.place import Place
    from outlive.store.session import Session

T = TypeVar("T")
_PORTION, _MOST = 256 << 20, 64  # bytes and items of a call
_CALLS_AT_ONCE = 2  # of a node
_ITEMS_AT_ONCE = 4  # of a call
_LONGEST_WAIT = 1.0  # seconds


class Work(NamedTuple):
    """A function of this package that is called with a session, a place, an item, and `more`."""

    function: Callable[..., Any]
    place: Place
    mark: str  # that the place has
    more: tuple[Any, ...] = ()
    end: Callable[..., list[Any]] | None = None
    """Makes the results of a call from what the function returned: called with session, place, that, and `more`."""


def spread(session: Session, work: Work, items: dict[str, list[tuple[int, Any]]], bar: progress.Bar) -> Iterator[Any]:
    """Do the work; yields the result of each item.

    Parameters
    ----------
    items
        By node, each with its bytes.

    Raises
    ------
    OutliveError, OSError
        The first that a call raised. The calls that have begun come to their end.
    """
    with ThreadPoolExecutor(_CALLS_AT_ONCE) as here:
        yield from _spread(session, here, work, items, bar)


def _spread(
    session: Session, here: ThreadPoolExecutor, work: Work, items: dict[str, list[tuple[int, Any]]], bar: progress.Bar
) -> Iterator[Any]:
    waiting = {node: deque(_portions(some)) for node, some in items.items()}
    total, done = sum(size for some in items.values() for size, _ in some), 0
    running: dict[Future[Any], tuple[str, list[tuple[int, Any]]]] = {}
    under_way: dict[str, int] = defaultdict(int)
    bar.update(0, total)
    try:
        while True:
            for node, portions in waiting.items():
                while portions and under_way[node] < _CALLS_AT_ONCE:
                    portion = portions.popleft()
                    under_way[node] += 1
                    running[_start(session, here, work, node, portion)] = node, portion
            if not running:
                return
            for future in wait(running, bar.pause(_LONGEST_WAIT), FIRST_COMPLETED).done:
                node, portion = running.pop(future)
                under_way[node] -= 1
                answer = _answer(future, at_home=node == session.node)
                if answer is None:
                    waiting.setdefault(session.node, deque()).append(portion)
                    continue
                done += sum(size for size, _ in portion)
                bar.update(done, total)
                yield from answer
            bar.tick()
    finally:
        for future in running:
            future.cancel()


def _portions(items: Iterable[tuple[int, T]]) -> Iterator[list[tuple[int, T]]]:
    portion: list[tuple[int, T]] = []
    for item in items:
        if portion and (len(portion) == _MOST or sum(size for size, _ in portion) + item[0] > _PORTION):
            yield portion
            portion = []
        portion.append(item)
    if portion:
        yield portion


def _start(
    session: Session, here: ThreadPoolExecutor, work: Work, node: str, portion: list[tuple[int, Any]]
) -> Future[Any]:
    few = [item for _, item in portion]
    if node == session.node:
        return here.submit(call, work, few, session)
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote: Any = ray.remote  # typed as Any, as Ray's types do not know functions of several arguments
    where = NodeAffinitySchedulingStrategy(node, soft=True)
    task = remote(call_there).options(num_cpus=0, scheduling_strategy=where).remote(work, few)
    started: Future[Any] = task.future()
    return started


def _answer(future: Future[Any], *, at_home: bool) -> list[Any] | None:
    """The results; None: this process is to do it."""
    if at_home:
        return list(future.result())
    with contextlib.suppress(*ray_errors()):
        answer = future.result()
        if isinstance(answer, OutliveError):
            raise answer
        return None if answer is None else list(answer)
    return None


def call(work: Work, items: list[Any], session: Session | None = None) -> list[Any]:
    """Call the function for each item, some at a time. If one raises, `end` still gets the others' results.

    Parameters
    ----------
    session
        By default that of the cluster of this process.
    """
    session = session or sessions.current()
    done: list[Any] = []
    try:
        if len(items) == 1:
            done.append(work.function(session, work.place, items[0], *work.more))
        else:
            _call_some(session, work, items, done)
    finally:
        results = done if work.end is None else work.end(session, work.place, done, *work.more)
    return results


def _call_some(session: Session, work: Work, items: list[Any], done: list[Any]) -> None:
    with ThreadPoolExecutor(min(_ITEMS_AT_ONCE, len(items))) as threads:
        begun = [threads.submit(work.function, session, work.place, item, *work.more) for item in items]
        error: BaseException | None = None
        for one in begun:
            if error is not None and one.cancel():
                continue
            try:
                done.append(one.result())
            except BaseException as raised:  # noqa: BLE001 - the first is raised below
                error = error or raised
        if error is not None:
            raise error


def call_there(work: Work, items: list[Any]) -> list[Any] | OutliveError | None:
    """The same in a task on another node; None if it has to be done elsewhere."""
    try:
        return call(work, items) if work.place.sees(work.mark) else None
    except (ArchiveUnavailable, MissingPackage):
        return None
    except OutliveError as error:
        return error
    except OSError:
        return None
