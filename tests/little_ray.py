"""Rays of tests start without the processes that no test looks at; each costs half a second of CPU a cluster."""

from __future__ import annotations

from typing import Any

from ray._private.node import Node

_start_api_server = Node.start_api_server


def start_little() -> None:
    """From now on, the clusters that this process starts have no autoscaler, log monitor or usage statistics.

    `ray start` and other processes start all.
    """
    Node.start_monitor = Node.start_log_monitor = lambda self: None
    Node.start_api_server = _if_dashboard


def _if_dashboard(self: Node, *, include_dashboard: bool | None, **options: Any) -> None:
    if include_dashboard is not False:
        _start_api_server(self, include_dashboard=include_dashboard, **options)
