"""Whether something removes idle nodes: what a process sees by itself, and what it asks the head. Without Ray."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from outlive.cluster import ray_port
from outlive.cluster.ray_port import RayPeers
from outlive.node import Autoscaler
from outlive.ray_internals import autoscaler as seeing

UNKNOWN = Autoscaler({}, {"10.0.0.1": "small"})  # as where the monitor cannot be seen
KNOWN = Autoscaler({"small": 1}, {})


@pytest.mark.parametrize(
    ("seen", "by", "asks"),
    [
        (None, "another", False),
        (KNOWN, "another", False),
        (UNKNOWN, "another", True),
        (UNKNOWN, None, True),  # a driver is no actor
        (UNKNOWN, "the catalog", False),
    ],
)
@pytest.mark.parametrize("told", [None, KNOWN, UNKNOWN])
def test_the_head_is_asked_unless_the_settings_are_seen(
    monkeypatch: pytest.MonkeyPatch, seen: Autoscaler | None, by: str | None, asks: bool, told: Autoscaler | None
) -> None:
    context: Any = SimpleNamespace(get_actor_id=lambda: by)
    catalog: Any = SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda: "the catalog"))
    monkeypatch.setattr(ray_port, "ray", SimpleNamespace(get_runtime_context=lambda: context))
    monkeypatch.setattr(ray_port.actors, "catalog", lambda: catalog)
    monkeypatch.setattr(ray_port, "autoscaler", lambda: seen)
    peers, asked = RayPeers(), list[str]()
    monkeypatch.setattr(peers, "ask_catalog", lambda call: asked.append(call.method) or told)
    assert peers.autoscaler() == (told if asks else seen)
    assert asked == ["autoscaler"] * asks


@contextmanager
def monitor(folder: Path, session: str, *options: str) -> Iterator[None]:
    """A process with the command line of a monitor."""
    command = [sys.executable, "-c", "print(flush=True); input()", "ray/autoscaler/v2/monitor.py"]
    command += [f"--logs-dir={folder}/{session}/logs", "--gcs-address=10.0.0.1:6379", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def test_a_monitor_is_known_by_its_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """KubeRay has programs in the head's pod connect to 127.0.0.1, and the monitor connects to the pod's address."""
    kv = {b"session_name": b"session_of_this"}
    client = SimpleNamespace(internal_kv_get=lambda key, space, timeout: kv.get(key), address="127.0.0.1:6379")
    monkeypatch.setattr(seeing, "gcs_client", lambda: client)
    monkeypatch.setattr(seeing, "_v2_scales", lambda: True)  # all nodes know their types, as with KubeRay
    with monitor(tmp_path, "session_of_another"):
        assert seeing.autoscaler() == Autoscaler({}, {})
    with monitor(tmp_path, "session_of_this"):
        assert seeing.autoscaler() is None  # it has no configuration
    config = tmp_path / "config"
    config.write_text("{head_node_type: head, available_node_types: {head: {}, small: {min_workers: 2}}}")
    with monitor(tmp_path, "session_of_this", f"--autoscaling-config={config}"):
        assert seeing.autoscaler() == Autoscaler({"small": 2}, {})
