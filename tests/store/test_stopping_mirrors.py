"""Mirrors that are stopped, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from outlive.cluster import actors
from outlive.errors import StoreUnavailable
from outlive.store import mirroring, ray_in_use
from outlive.store import session as sessions
from outlive.store.mirroring import Mirror


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the actors that are ended."""
    names: list[str] = []
    monkeypatch.setattr(actors, "end", names.append)
    return names


@pytest.mark.parametrize("save", [True, False])
def test_a_process_that_is_not_connected_stops_no_mirror(ended: list[str], save: bool) -> None:
    """Ray would connect it to some cluster, and the mirror would end there without its last save."""
    pytest.importorskip("ray")
    with pytest.raises(StoreUnavailable, match="not connected"):
        Mirror("s", "/archive").stop(save=save)
    assert not ended


def test_a_mirror_that_cannot_be_asked_is_not_stopped(monkeypatch: pytest.MonkeyPatch, ended: list[str]) -> None:
    exceptions = pytest.importorskip("ray.exceptions")
    monkeypatch.setattr(sessions, "current", lambda: None)
    monkeypatch.setattr(ray_in_use, "is_connected", lambda: True)

    def answer_of(error: Exception) -> None:
        def find(_: str) -> Any:
            raise error

        monkeypatch.setattr(actors, "find", find)

    answer_of(exceptions.RaySystemError("the head is away"))
    with pytest.raises(StoreUnavailable, match="the head is away"):
        Mirror("s", "/archive").stop()
    assert not ended
    answer_of(ValueError("no such actor"))  # it was stopped: this is harmless
    Mirror("s", "/archive").stop()
    assert ended == [mirroring._name("s", "/archive")]
