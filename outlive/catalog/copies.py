"""Copies: which nodes have an array that is on several nodes, and whether each keeps it or has it cached."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from outlive.arrays.info import ArrayInfo


class Copies:
    """The copies of arrays that are, or were, on several nodes. An array that only its home has need not be here."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, bool]] = {}  # id -> node -> whether it is kept there, or cached
        self._infos: dict[str, ArrayInfo] = {}
        self._on: dict[str, dict[str, bool]] = {}  # the same by node -> id
        self._cached: dict[str, dict[str, None]] = {}  # node -> ids of those that it has cached
        self._few: dict[str, None] = {}  # ids of the arrays that are kept on fewer nodes than `replicas` asks for

    def of(self, array_id: str) -> dict[str, bool]:
        return self._nodes.get(array_id, {})

    def add(self, info: ArrayInfo, home: str, node: str, *, kept: bool = True) -> None:
        """One more copy, on `node`, of an array that is kept on `home`."""
        self._infos[info.id] = info
        if info.id not in self._nodes:
            self._set(info.id, home, kept=True)
        self._set(info.id, node, kept=kept or self.of(info.id).get(node, False))
        self._count(info.id)

    def restamp(self, info: ArrayInfo) -> None:
        """Note that an array has a later version now."""
        if info.id in self._infos:
            self._infos[info.id] = info

    def _set(self, array_id: str, node: str, *, kept: bool) -> None:
        self._nodes.setdefault(array_id, {})[node] = kept
        self._on.setdefault(node, {})[array_id] = kept
        if kept:
            self._cached.get(node, {}).pop(array_id, None)
        else:
            self._cached.setdefault(node, {})[array_id] = None

    def _count(self, array_id: str) -> None:
        kept = sum(self.of(array_id).values())
        if 0 < kept < self._infos[array_id].replicas:
            self._few.setdefault(array_id)
        else:
            self._few.pop(array_id, None)

    def remove(self, array_id: str, node: str) -> None:
        if self._nodes.get(array_id, {}).pop(node, None) is not None:
            self._leave(array_id, node)
            self._count(array_id)

    def _leave(self, array_id: str, node: str) -> None:
        there = self._on.get(node, {})
        there.pop(array_id, None)
        self._cached.get(node, {}).pop(array_id, None)
        if not there:
            self._on.pop(node, None)
            self._cached.pop(node, None)

    def forget_array(self, array_id: str) -> None:
        for node in self._nodes.pop(array_id, {}):
            self._leave(array_id, node)
        self._infos.pop(array_id, None)
        self._few.pop(array_id, None)

    def forget_node(self, node: str) -> list[ArrayInfo]:
        """Forget a node's copies. Returns the arrays without a key that only this node kept."""
        gone = []
        self._cached.pop(node, None)
        for array_id, was_kept in self._on.pop(node, {}).items():
            nodes, info = self._nodes[array_id], self._infos[array_id]
            del nodes[node]
            self._count(array_id)
            if was_kept and not any(nodes.values()) and info.key is None:
                gone.append(info)
            if not nodes:
                self.forget_array(array_id)
        return gone

    def is_on(self, node: str) -> bool:
        """Whether a node has a copy of any of these arrays."""
        return node in self._on

    def on_node(self, node: str) -> list[tuple[ArrayInfo, bool]]:
        """The arrays of which a node has a copy, and whether it keeps each."""
        return [(self._infos[array_id], kept) for array_id, kept in self._on.get(node, {}).items()]

    def cached_of_kept(self, node: str) -> list[tuple[str, ArrayInfo]]:
        """The cached copies, on other nodes, of arrays that this node keeps: node and array of each."""
        return [
            (other, self._infos[array_id])
            for array_id, kept_here in self._on.get(node, {}).items()
            if kept_here
            for other, kept in self._nodes[array_id].items()
            if not kept
        ]

    def too_few(self, most: int = 10_000) -> list[tuple[ArrayInfo, list[str]]]:
        """Arrays that are kept on too few nodes, and the nodes of each. The next call returns others, if there are."""
        some = list(itertools.islice(self._few, most))
        if len(some) < len(self._few):
            for array_id in some:
                self._few[array_id] = self._few.pop(array_id)
        return [
            (self._infos[array_id], [node for node, kept in self.of(array_id).items() if kept]) for array_id in some
        ]

    @property
    def lacking(self) -> int:
        """How many arrays are kept on fewer nodes than `replicas` asks for."""
        return len(self._few)

    def info(self, array_id: str) -> ArrayInfo | None:
        return self._infos.get(array_id)

    def __iter__(self) -> Iterator[ArrayInfo]:
        return iter(list(self._infos.values()))

    def validate(self) -> None:
        """Raises AssertionError unless the books (by array, by node, too few copies) say the same."""
        on: dict[str, dict[str, bool]] = {}
        for array_id, nodes in self._nodes.items():
            for node, kept in nodes.items():
                on.setdefault(node, {})[array_id] = kept
        assert on == self._on, "copies by array and by node"
        cached = {node: [one for one, kept in ids.items() if not kept] for node, ids in on.items()}
        for node in {*cached, *self._cached}:
            assert set(cached.get(node, ())) == set(self._cached.get(node, ())), f"what {node} has cached"
        few = {one for one in self._nodes if 0 < sum(self._nodes[one].values()) < self._infos[one].replicas}
        assert few == set(self._few), "what is kept on too few nodes"
