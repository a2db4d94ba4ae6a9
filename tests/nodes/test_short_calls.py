"""Short calls by themselves; `test_ray_port` and `test_direct` have those of a cluster."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from outlive.cluster import short_calls
from outlive.cluster.port import Call
from outlive.cluster.short_calls import ShortCalls


class Peers:
    def is_late(self, _: str) -> bool:
        return False


def test_a_child_that_is_forked_as_connections_are_prepared_makes_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, goes_on, peers = threading.Event(), threading.Event(), Peers()
    calls = {"a": Call.of("drop", [])}

    def slow(_: Any) -> None:
        begun.set()
        assert goes_on.wait(60)

    monkeypatch.setattr(short_calls, "_links", slow)
    thread = threading.Thread(target=ShortCalls(peers).make_those_made_often, args=(calls,))  # type: ignore[arg-type]
    thread.start()
    assert begun.wait(60)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        short_calls._links = lambda _: None  # type: ignore[assignment]
        os._exit(len(ShortCalls(peers).make_those_made_often(calls)))  # type: ignore[arg-type]
    try:
        assert os.waitpid(child, 0)[1] == 0
    finally:
        goes_on.set()
        thread.join()
