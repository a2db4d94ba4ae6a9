"""Deleting very many arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import outlive
from outlive.store import deleting, session
from tests.nodes.played import PlayedCluster


@pytest.mark.parametrize("how", ["clear", "delete"])
def test_no_call_names_very_many(played: PlayedCluster, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A keeper would take long to answer, and be taken for a stopped one."""
    monkeypatch.setattr(deleting, "_AT_ONCE", 3)
    current, counts = session.current(), list[int]()
    ask = current.ask_catalog

    def counted(method: str, *args: Any) -> Any:
        if method == "end":
            counts.append(len(args[0]))
        return ask(method, *args)

    monkeypatch.setattr(current, "ask_catalog", counted)
    store = outlive.Store(f"many {how}")
    store.put_many({str(number): np.ones(number) for number in range(8)})
    store.clear() if how == "clear" else store.delete(*store)
    assert list(store) == []
    assert counts == [3, 3, 2]
