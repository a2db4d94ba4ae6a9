"""Work for nodes, each node's in a thread of its own: a node that does not answer holds up no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
_THREADS = 16


class PerNode(Generic[T]):
    """Has `work(node, items)` done, with all that has come for a node since it was last done for it.

    Parameters
    ----------
    work
        What is to be done. It raises nothing.
    """

    def __init__(self, work: Callable[[str, list[T]], None]) -> None:
        self._work, self._lock = work, threading.Lock()
        self._waiting: dict[str, list[T]] = {}
        self._busy: set[str] = set()
        self._pool = ThreadPoolExecutor(_THREADS, "node")

    def add(self, node: str, items: Iterable[T]) -> None:
        with self._lock:
            self._waiting.setdefault(node, []).extend(items)
            if node in self._busy:
                return
            self._busy.add(node)
        self._pool.submit(self._go_on, node)

    def _go_on(self, node: str) -> None:
        while True:
            with self._lock:
                items = self._waiting.pop(node, [])
                if not items:
                    self._busy.discard(node)
                    return
            self._work(node, items)
