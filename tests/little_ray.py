"""Rays of tests start without the processes that no test looks at, and may take their time to start."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray._raylet
from ray._private import ray_constants, services
from ray._private.node import Node

from tests.ports import free_ports

_START_WITHIN = 180  # seconds for a node to start. Ray gives up after 30, which are too few beside busy processes
_start_api_server, _get_node, _start = Node.start_api_server, services.get_node, services.start_ray_process
_ENVIRONMENTS, _DASHBOARD = "--runtime_env_agent_command", "--dashboard_agent_command"
_PORTS = {  # of each agent: a raylet waits until the agent says in a file which port it has
    _DASHBOARD: ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port"),
    _ENVIRONMENTS: ("runtime_env_agent_port",),
}
_WORKERS, _WORKER = "--python_worker_command=", f"{services.RAY_PATH}/_private/workers/default_worker.py"
_FORKED = (f" {_WORKER} ", f" -I -S {Path(__file__).with_name('forked_worker.py')} {_WORKER} ")
_NO_AGENT = (
    'cd "$0" && for port in {ports}; do echo -1 > "$port.$1" && mv "$port.$1" "$port"_"$1"; done; exec cat > /dev/null'
)
_PORT_GIVEN = re.compile(r"^--(grpc-port|listen-port)=.*$")
_agents_python = ""  # "": the one that Ray takes
_wanted = dict.fromkeys(_PORTS, False)
CAN_FORK = hasattr(ray._raylet, "persist_port")
"""Whether nodes start without agents, and workers are forked: raylets of older Ray learn of ports in another way."""


def start_little(*, monitor: bool = False) -> None:
    """From now on, the clusters that this process starts have no autoscaler, log monitor, usage statistics or agents.

    With `monitor` they have the autoscaler's process.

    Each of these costs half a second of CPU a cluster or more, and a raylet waits for its agents. `ray start` and other
    processes start all. A cluster with a dashboard has the dashboard's agents. See also `with_environments`. With
    OUTLIVE_FORKED, workers are forked (`tests/forked_worker.py`).
    """
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(_START_WITHIN))
    os.environ.setdefault("RAY_agent_register_timeout_ms", str(_START_WITHIN * 1000))  # else the raylet ends
    os.environ.setdefault("RAY_worker_register_timeout_seconds", str(_START_WITHIN))  # else the first driver waits on
    Node.start_log_monitor = _start_nothing
    if not monitor:
        Node.start_monitor = _start_nothing
    Node.start_api_server = _if_dashboard
    services.get_node = _node_in_time
    if CAN_FORK:
        services.start_ray_process = _start_with_few_agents


@contextlib.contextmanager
def with_environments() -> Iterator[None]:
    """The nodes that start in this block have the agent that makes runtime environments. Others must not be asked."""
    with _with(_ENVIRONMENTS):
        yield


@contextlib.contextmanager
def with_metrics(python: str) -> Iterator[None]:
    """The nodes that start in this block have the agent at which Prometheus asks for metrics. This Python runs it.

    It has to have the packages of ray[default].
    """
    global _agents_python
    before, _agents_python = _agents_python, python
    try:
        with _with(_DASHBOARD):
            yield
    finally:
        _agents_python = before


@contextlib.contextmanager
def _with(agent: str) -> Iterator[None]:
    before, _wanted[agent] = _wanted[agent], True
    try:
        yield
    finally:
        _wanted[agent] = before


def _no_agent(name: str, session: str, node: str) -> str:
    """The part of a raylet's command that has it start, in an agent's place, a process that serves nobody.

    It says -1 for each port, as an agent does that lacks its packages, and ends with its raylet.
    """
    return f"{name}={shlex.join(['/bin/sh', '-c', _NO_AGENT.format(ports=' '.join(_PORTS[name])), session, node])}"


def _said_early(part: str, session: str, node: str) -> str:
    """The part of a raylet's command that starts the agent, whose ports are said before it starts.

    A raylet waits 15 s for that, whatever the settings, and an agent takes longer beside busy processes.
    """
    name, _, agent = part.partition("=")
    grpc, listen = free_ports(2)
    words = [_PORT_GIVEN.sub(lambda one: f"--{one[1]}={grpc if one[1] == 'grpc-port' else listen}", word)
             for word in shlex.split(agent)]  # fmt: skip
    if _agents_python:
        words[0] = _agents_python
        # Ray looked whether our own Python has the agent's packages. A minimal agent takes no metrics of workers.
        words = [word for word in words if word != "--minimal"]
    export = dict(word.partition("=")[::2] for word in words)["--metrics-export-port"]
    said = zip(_PORTS[_DASHBOARD], (grpc, export, listen), strict=True)
    says = " && ".join(f"echo {port} > {file}.{node} && mv {file}.{node} {file}_{node}" for file, port in said)
    script = f'(cd {shlex.quote(session)} && {says}); exec "$@"'
    return f"{name}={shlex.join(['/bin/sh', '-c', script, 'agent', *words])}"


def _start_with_few_agents(command: list[str], process_type: str, *args: Any, **options: Any) -> Any:
    if process_type == ray_constants.PROCESS_TYPE_RAYLET:
        given = dict(part.partition("=")[::2] for part in command)
        place = (given["--session_dir"], given["--node_id"])
        without = {name: _no_agent(name, *place) for name in _PORTS if not _wanted[name]}
        command = [without.get(part.partition("=")[0], part) for part in command]
        if _wanted[_DASHBOARD]:
            command = [_said_early(part, *place) if part.startswith(f"{_DASHBOARD}=") else part for part in command]
        if os.environ.get("OUTLIVE_FORKED"):
            command = [part.replace(*_FORKED) if part.startswith(_WORKERS) else part for part in command]
    return _start(command, process_type, *args, **options)


def _start_nothing(self: Node) -> None:
    pass


def _if_dashboard(self: Node, *, include_dashboard: bool | None, **options: Any) -> None:
    _wanted[_DASHBOARD] |= include_dashboard is not False
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
