"""The demo's own Ray, without Ray."""

from __future__ import annotations

from typing import Any

import pytest
from ray._private import services

from outlive.demo import local_ray
from outlive.ray_internals import starting


def test_a_busy_machine_may_take_longer_to_start_it_than_ray_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([RuntimeError("not found"), RuntimeError("not found"), {"NodeID": "n"}])
    started = list[Any]()

    def get_node(*_: Any) -> Any:
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    monkeypatch.setattr(services, "get_node", get_node)
    monkeypatch.setattr(starting, "_PAUSE", 0.0)
    monkeypatch.setattr(local_ray.ray, "init", lambda **_: started.append(services.get_node("address", "n")))
    monkeypatch.setattr(local_ray.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(local_ray.ray, "shutdown", lambda: None)
    with local_ray.local_ray(0, lambda: None):
        assert started == [{"NodeID": "n"}]
    assert services.get_node is get_node
