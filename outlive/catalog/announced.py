"""Announced arrays: other nodes were told of them before they were listed, as they were to replace arrays there."""

from __future__ import annotations

from collections import OrderedDict

_MOST = 10_000
_Name = tuple[str, str]  # store and key


class Announced:
    """The latest 10,000 announced arrays, and the nodes that are to forget those whose puts came to nothing.

    A node that was told of an array remembers it for minutes. If the put came to nothing, and the array's home then
    died together with the catalog, the next catalog would take the array for lost, and the one that it was to replace
    for outdated.
    """

    def __init__(self) -> None:
        self._nodes: OrderedDict[str, tuple[_Name, set[str]]] = OrderedDict()  # id -> store and key, nodes
        self.cancelled: dict[str, dict[str, _Name]] = {}  # node -> id that it is to forget -> store and key

    def add(self, array_id: str, name: _Name, node: str) -> None:
        """Note that a node is told of an array."""
        self._nodes.setdefault(array_id, (name, set()))[1].add(node)
        while len(self._nodes) > _MOST:
            self._nodes.popitem(last=False)

    def was_sealed(self, array_id: str) -> None:
        self._nodes.pop(array_id, None)

    def came_to_nothing(self, array_id: str) -> None:
        """Have the nodes that were told of an array forget it: it must never be listed again."""
        name, nodes = self._nodes.pop(array_id, (("", ""), set[str]()))
        for node in nodes:
            self.cancel(array_id, name, node)

    def cancel(self, array_id: str, name: _Name, node: str) -> None:
        """Have a node forget an array. For a silent node, the latest 10,000 are remembered."""
        there = self.cancelled.setdefault(node, {})
        there[array_id] = name
        while len(there) > _MOST:
            del there[next(iter(there))]

    def forgot(self, node: str, array_ids: list[str]) -> None:
        """Note that a node has forgotten these arrays."""
        there = self.cancelled.get(node, {})
        for array_id in array_ids:
            there.pop(array_id, None)
        if not there:
            self.cancelled.pop(node, None)
