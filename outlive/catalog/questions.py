"""Questions: what nodes are being asked of arrays, and whose answers do not count any more.

While an answer is on its way, the catalog may learn more than the node knew when it answered: that the array has come
there since, or that it may be dropped. Then that answer is passed over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

About = tuple[str, str]  # node, array


class Questions:
    """Questions of one kind that are under way. The same may be asked several times at once."""

    def __init__(self) -> None:
        self._under_way: dict[int, set[About]] = {}
        self._asked = 0

    @contextlib.contextmanager
    def about(self, asked: Iterable[About]) -> Iterator[set[About]]:
        """Run a block in which nodes are asked about arrays. The set has those whose answers count still."""
        self._asked += 1
        number, count_still = self._asked, set(asked)
        self._under_way[number] = count_still
        try:
            yield count_still
        finally:
            del self._under_way[number]

    def pass_over(self, node: str, array_ids: Iterable[str]) -> None:
        """Pass over what the node answers about these arrays, if it is being asked."""
        if self._under_way:
            learned = {(node, array_id) for array_id in array_ids}
            for count_still in self._under_way.values():
                count_still.difference_update(learned)
