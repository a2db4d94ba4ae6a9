"""The port where there is one node: what needs no answer of anybody. See `cluster.port.Peers`."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from outlive.cluster.port import PATIENCE, Call, Nobody, RealTime
from outlive.errors import OutliveError
from outlive.node import Autoscaler, Node


class OneNode(RealTime):
    """All but the calls of keeper and catalog."""

    node_id: str

    def ask_keeper(self, node: str, call: Call, patience: float | None = PATIENCE) -> Any:
        raise NotImplementedError

    def ask(self, calls: Mapping[str, Call], patience: float = PATIENCE) -> dict[str, Any]:
        found = {}
        for node, call in calls.items():
            try:
                found[node] = self.ask_keeper(node, call, patience)
            except (OutliveError, OSError):
                continue
        return found

    def stream(self, node: str, _: Call) -> Iterator[Any]:
        self.see(node)
        raise Nobody(f"{node} has no copy of another node's array")

    def see(self, node: str) -> None:
        """Raises Nobody for another node."""
        if node != self.node_id:
            raise_nobody(node)

    def keeper_nodes(self) -> list[str]:
        return [self.node_id]

    def is_late(self, _: str) -> bool:
        return False

    def take_gone(self) -> set[str]:
        return set()

    def search_shelves(self, node: str) -> None:
        pass

    def adopt_here(self) -> None:
        pass

    def calls_through_ray(self) -> str | None:
        return None

    def watch(self) -> None:
        """Nobody watches."""

    # --- nodes

    def nodes(self) -> list[Node]:
        return [Node(self.node_id, "", socket.gethostname(), True, True, None, None, None, 0, None)]

    def node(self, node: str) -> Node | None:
        return next((one for one in self.nodes() if one.id == node), None)

    def busy(self, _: str) -> list[str]:
        return []

    def autoscaler(self) -> Autoscaler | None:
        return None

    def jobs_that_ended(self, _: set[int]) -> set[int]:
        return set()

    def address(self) -> str:
        return self.node_id

    def leave(self) -> None:
        pass

    # --- what the head of a cluster remembers: here it is all in files

    def load(self, _: str) -> bytes | None:
        return None

    def save(self, key: str, value: bytes) -> None:
        pass

    def save_first(self, _: str, value: bytes) -> bytes:
        return value


def raise_nobody(node: str) -> NoReturn:
    raise Nobody(f"there is no node {node}: a local store is on one machine")
