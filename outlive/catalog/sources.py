"""Sources: which node sends a large array to which others just now, as far as the catalog has told them where it is.

Many nodes may want a large array at the same moment, and one has it. If that one sends it to all at once, all have to
wait for its link. So it sends it to a few, and each that has it then sends it to others: the number of copies is
multiplied each time. The others ask again meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable

MOST = 2  # nodes that get one array from one node at the same time: one of them may be stopped
_SLOWEST = 100 << 20  # bytes a second: a copy that takes longer counts no more
_AT_LEAST = 1.0  # seconds


class Sources:
    """The copies of large arrays that are thought to be under way.

    Parameters
    ----------
    now
        A clock: seconds that only go forward.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._under_way: dict[str, dict[str, tuple[str, float]]] = {}  # id -> who gets it -> from whom; until when

    def askers(self, array_id: str) -> list[str]:
        """The nodes that get an array just now."""
        self._forget_old(array_id)
        return list(self._under_way.get(array_id, ()))

    def busy(self, array_id: str, besides: Container[str] = ()) -> Counter[str]:
        """How many nodes get an array from each node, without counting those in `besides`."""
        there = self._under_way.get(array_id, {})
        return Counter(source for asker, (source, _) in there.items() if asker not in besides)

    def begin(self, array_id: str, asker: str, source: str, size: int) -> None:
        """Note that a node gets an array of so many bytes from another."""
        until = self._now() + _AT_LEAST + size / _SLOWEST
        self._under_way.setdefault(array_id, {})[asker] = source, until

    def end(self, array_id: str, asker: str) -> None:
        """Note that a node has an array, or does not get it any more. This may be said of any node and array."""
        there = self._under_way.get(array_id)
        if there is not None:
            there.pop(asker, None)
            if not there:
                del self._under_way[array_id]

    def forget(self, node: str) -> None:
        """Note that a node gets nothing any more: it has died, or its keeper."""
        for array_id in list(self._under_way):
            self.end(array_id, node)

    def forget_old(self) -> None:
        """Forget what has taken too long."""
        for array_id in list(self._under_way):
            self._forget_old(array_id)

    def _forget_old(self, array_id: str) -> None:
        now = self._now()
        for asker in self._over(self._under_way.get(array_id, {}).items(), now):
            self.end(array_id, asker)

    @staticmethod
    def _over(some: Iterable[tuple[str, tuple[str, float]]], now: float) -> list[str]:
        return [asker for asker, (_, until) in some if until < now]

    def __len__(self) -> int:
        return len(self._under_way)
