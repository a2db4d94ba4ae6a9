"""Joining a cluster that is not there, or not yet. Without Ray's own wait, and without a cluster."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from outlive.errors import StoreUnavailable
from outlive.ray_internals import authentication, joining
from tests.ports import free_ports


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that `ray.init` was called with."""
    addresses = list[Any]()
    monkeypatch.setattr(ray, "init", lambda address, **_: addresses.append(address))
    return addresses


def test_nothing_listens_at_the_address(
    joined: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ray 2.60 would try for over ten minutes."""
    monkeypatch.setattr(joining, "_SAY_AFTER", 0.0)
    (port,) = free_ports(1)
    with pytest.raises(StoreUnavailable, match=f"no Ray cluster at .*:{port}: nothing listens there; start one"):
        joining.join(f"127.0.0.1:{port}", patience=0.01)
    assert "waiting up to" in caplog.text
    assert not joined


def test_a_cluster_that_starts_meanwhile_is_joined(joined: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([False, False, True])
    monkeypatch.setattr(authentication, "listens", lambda _: next(looks))
    monkeypatch.setattr(authentication, "agree", lambda *_: None)
    monkeypatch.setattr(joining, "_LOOK", 0.0)
    joining.join("ray://head:10001", patience=60)
    assert joined == ["ray://head:10001"]
    assert next(looks, None) is None


@pytest.mark.parametrize("address", ["head:port", "module://cluster"])
def test_what_is_no_place_is_left_to_ray(joined: list[Any], address: str) -> None:
    """Nothing could ever listen there, so to wait for that is of no use."""
    joining.join(address, patience=60)
    assert joined == [address]
