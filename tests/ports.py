"""Ports for servers that start seconds later, and waiting for Ray Client's server."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from pathlib import Path
from typing import Any

_FROM = 24_100  # below, Ray takes ports by itself: for workers from 10002 on, for the servers of Ray Clients from 23000
_PATIENCE = 180  # seconds; the server imports Ray first, beside busy processes


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens at now, and that Linux gives to nobody who asks for any.

    A port that was asked for as any, and closed, is often somebody's until the server that it is for has started. And
    while it is open at one address of this machine, somebody may have it at another.
    """
    with contextlib.suppress(FileNotFoundError):
        given_away = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        ports = range(_FROM, given_away)
        if len(ports) > 1000:
            return random.sample([port for port in random.sample(ports, 50 + number) if _is_free(port)], number)
    with contextlib.ExitStack() as stack:  # no range is left out there
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(one.getsockname()[1]) for one in sockets]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def wait_for_client_server(node: Any, port: int) -> None:
    """Wait until the server for Ray Clients of this `ray._private.node.Node` answers. A client itself waits for 30 s.

    Raises
    ------
    RuntimeError
        It has ended, or does not answer; with its logs.
    """
    from ray._private.ray_constants import PROCESS_TYPE_RAY_CLIENT_SERVER

    (server,) = node.all_processes[PROCESS_TYPE_RAY_CLIENT_SERVER]
    deadline = time.monotonic() + _PATIENCE
    while (code := server.process.poll()) is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(
        f"Ray Client's server does not answer at port {port}; exit code {code}\n{client_server_logs(node)}"
    )


def client_server_logs(node: Any) -> str:
    """The ends of the logs of the server for Ray Clients, and of the servers that it started."""
    logs = sorted(Path(node.get_logs_dir_path()).glob("ray_client_server*"))
    return "\n".join(f"{log.name}\n{log.read_text()[-4000:]}" for log in logs)
