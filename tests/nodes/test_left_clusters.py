"""Processes that have left their cluster, as by `ray.shutdown()`, and what they ask of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import ray

from outlive.cluster import actors
from outlive.cluster.port import Call
from outlive.cluster.ray_port import RayPeers
from outlive.errors import StoreUnavailable

PEERS = RayPeers()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: PEERS.find_keeper("b"),
        lambda: PEERS.ask_keeper("b", Call.of("room")),
        lambda: PEERS.ask_catalog(Call.of("ping")),
        lambda: PEERS.tell_catalog(Call.of("ping")),
        lambda: actors.end("mirror-1"),
    ],
    ids=["find_keeper", "ask_keeper", "ask_catalog", "tell_catalog", "end"],
)
def test_no_cluster_is_joined_to_look_for_an_actor(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], Any]) -> None:
    """Ray would join the cluster of this machine, or start one. So where a scope ends after `ray.shutdown()`."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("a cluster was joined"))
    with pytest.raises(StoreUnavailable, match="not connected to a Ray cluster"):
        ask()
