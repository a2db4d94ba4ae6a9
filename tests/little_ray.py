"""Rays of tests start without the processes that no test looks at, and may take their time to start."""

from __future__ import annotations

import os
import time
from typing import Any

from ray._private import services
from ray._private.node import Node

_START_WITHIN = 180  # seconds for a node to start. Ray gives up after 30, which are too few beside busy processes
_start_api_server, _get_node = Node.start_api_server, services.get_node


def start_little() -> None:
    """From now on, the clusters that this process starts have no autoscaler, log monitor or usage statistics.

    Each of these costs half a second of CPU a cluster. `ray start` and other processes start all.
    """
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(_START_WITHIN))
    os.environ.setdefault("RAY_agent_register_timeout_ms", str(_START_WITHIN * 1000))  # else the raylet ends
    Node.start_monitor = Node.start_log_monitor = lambda self: None
    Node.start_api_server = _if_dashboard
    services.get_node = _node_in_time


def _if_dashboard(self: Node, *, include_dashboard: bool | None, **options: Any) -> None:
    if include_dashboard is not False:
        _start_api_server(self, include_dashboard=include_dashboard, **options)


def _node_in_time(*arguments: Any, **options: Any) -> Any:
    """What the head knows of a node that has just been started, as soon as the head knows it."""
    deadline = time.monotonic() + _START_WITHIN
    while True:
        try:
            return _get_node(*arguments, **options)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
