"""Draining a node whose keeper leaves by itself meanwhile, as on a node that Ray drains."""

from __future__ import annotations

from typing import Any

import pytest

from outlive.cluster.evacuation import Kept
from outlive.cluster.port import Left
from outlive.node import Node
from outlive.store import nodes

SIZES = {"1" * 32: 10, "2" * 32: 20}


class Leaving:
    """A session whose keeper of node `a` leaves as it is asked for the `last` time, after all has left or before."""

    def __init__(self, last: str, alone: bool) -> None:
        self.peers, self._last, self._alone = self, last, alone
        self._kept = dict(SIZES)
        self._asked = 0

    def nodes(self) -> list[Node]:
        return [Node("a", "1.2.3.4", "host", False, True, None, None, None, 0, None)]

    def find_keeper(self, _: str, *, start: bool) -> None:
        assert start

    def sleep(self, _: float) -> None:
        """No time passes."""

    def ask_catalog(self, method: str, array_ids: list[str], node: str) -> list[bool]:
        assert (method, node) == ("alone", "a")
        return [self._alone] * len(array_ids)

    def ask_node(self, node: str, method: str, *args: Any, **_: Any) -> Any:
        if method == "kept" and self._asked == 0:
            self._asked = 1
            return [Kept(array_id, size, alone=True) for array_id, size in self._kept.items()]
        if method == "evacuate" and (not args[0] or self._last == "kept"):
            return [True] * len(args[0])
        raise Left(f"the keeper of {node} has left")


@pytest.mark.parametrize("last", ["evacuate", "kept"])
def test_a_keeper_that_leaves_by_itself_has_nothing_any_more(last: str) -> None:
    session: Any = Leaving(last, alone=False)
    assert nodes._drain(session, "a") == nodes.Drained(2, 30, None)


def test_what_a_keeper_that_ended_may_have_alone_stays() -> None:
    session: Any = Leaving("evacuate", alone=True)
    assert nodes._drain(session, "a") == nodes.Drained(0, 0, f"2 of 2 arrays stay: {nodes.WHY_SOME_STAY}")
