"""Announced: arrays that other nodes were told of before they were listed, as they were to replace arrays there."""

from __future__ import annotations

from collections import OrderedDict

_MOST = 10_000
_Name = tuple[str, str]  # store and key


class Announced:
    """The latest 10,000, and the nodes that are to forget one whose put came to nothing.

    A node that was told remembers it for minutes. If the array's home died with the catalog meanwhile, the next catalog
    would take the array for lost, and the older one that it was to replace for outdated.
    """

    def __init__(self) -> None:
        self._nodes: OrderedDict[str, tuple[_Name, set[str]]] = OrderedDict()  # id -> store and key, nodes
        self.cancelled: dict[str, dict[str, _Name]] = {}  # node -> id -> store and key: to be forgotten there

    def add(self, array_id: str, name: _Name, node: str) -> None:
        """A node is told of an array."""
        self._nodes.setdefault(array_id, (name, set()))[1].add(node)
        while len(self._nodes) > _MOST:
            self._nodes.popitem(last=False)

    def was_sealed(self, array_id: str) -> None:
        self._nodes.pop(array_id, None)

    def came_to_nothing(self, array_id: str) -> None:
        """The array is never to be listed again: the nodes that were told of it are to forget it."""
        name, nodes = self._nodes.pop(array_id, (("", ""), set[str]()))
        for node in nodes:
            self.cancel(array_id, name, node)

    def cancel(self, array_id: str, name: _Name, node: str) -> None:
        """A node is to forget an array. Of a node that is silent, no more are remembered than it can have."""
        there = self.cancelled.setdefault(node, {})
        there[array_id] = name
        while len(there) > _MOST:
            del there[next(iter(there))]

    def forgot(self, node: str, array_ids: list[str]) -> None:
        """A node has forgotten these."""
        there = self.cancelled.get(node, {})
        for array_id in array_ids:
            there.pop(array_id, None)
        if not there:
            self.cancelled.pop(node, None)
