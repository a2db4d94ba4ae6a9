"""A server of calls and lines to it, over loopback and without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from outlive.calls.line import Line
from outlive.calls.server import Served, Server

SECRET = b"s" * 32


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def start(calls: dict[str, Served], **options: Any) -> Server:
            given: dict[str, Any] = {"name": "there", "secret": SECRET, "crews": {"slow": 2}}
            made = Server("127.0.0.1", (0,), calls=calls, **given | options)
            stack.callback(made.close)
            return made

        yield start


def line_to(server: Server, **options: Any) -> Line:
    given: dict[str, Any] = {"here": "here", "there": "there", "secret": SECRET}
    return Line((server.host, server.port), **given | options)
