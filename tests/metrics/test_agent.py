"""The agent that the tests start in the place of Ray's."""

from __future__ import annotations

import pytest

from tests import little_ray

_PART = (
    "--dashboard_agent_command=/usr/bin/python agent.py --metrics-export-port=1 --grpc-port=0 --listen-port=0 --minimal"
)


@pytest.mark.skipif(not little_ray.CAN_FORK, reason="older Ray is left to start its own agent")
def test_an_agent_with_packages_of_its_own_takes_the_metrics_of_workers(tmp_path):
    """Ray has each agent be minimal where the Python of the tests lacks packages of ray[default]."""
    assert "--minimal" in little_ray._said_early(_PART, str(tmp_path), "node")
    with little_ray.with_metrics("/elsewhere/python"):
        part = little_ray._said_early(_PART, str(tmp_path), "node")
    assert "/elsewhere/python" in part
    assert "--minimal" not in part
    assert "/elsewhere/python" not in little_ray._said_early(_PART, str(tmp_path), "node")
