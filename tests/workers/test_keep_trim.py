"""`keep_trim` goes on after rounds that fail. No Ray."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from outlive.workers import keeping


def test_a_round_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: "01000000"))
    rounds, third = list[int](), threading.Event()

    def once(_: keeping.KeepTrim) -> None:
        rounds.append(1)
        if len(rounds) < 3:
            raise OSError(24, "Too many open files")  # as a look at /proc does
        third.set()

    monkeypatch.setattr(keeping.KeepTrim, "once", once)
    with keeping.keep_trim(max_idle=1, every=0.05):
        assert third.wait(60)
    assert "not trimmed this time" in caplog.text
