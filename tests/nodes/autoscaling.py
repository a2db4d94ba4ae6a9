"""A real autoscaler on this machine: a head without CPUs, and worker nodes that come with work and leave when idle.

Ray's own `fake_multinode` provider starts and stops a raylet for each node; all else is what runs in production.
(`ray.cluster_utils.AutoscalingCluster` needs an example.yaml that the wheel lacks, and ends every Ray on the machine.)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import ray

from outlive.ray_internals.node_table import Node, nodes
from tests.conftest import ROOT, SPILL, eventually
from tests.ports import free_ports

HEAD = "f" * 51 + "00000"  # FAKE_HEAD_NODE_ID; the provider numbers the other nodes from here
STORE = 100 << 20  # bytes of each node's object store
_MARK = "OUTLIVE_TEST_CLUSTER"  # in the environment of all its processes, so that these alone are ended
_UNUSED = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")


@contextmanager
def autoscaling_cluster(
    most: int = 2, idle_minutes: float = 0.1, min_workers: int = 0, version: int = 1, **environment: str
) -> Iterator[str]:
    """A cluster of up to `most` worker nodes of type `small`, of one CPU each; this process is connected to it.

    `environment` is set for all its processes. Yields its address.
    """
    folder = Path(tempfile.mkdtemp(prefix="outlive-a-", dir="/tmp"))  # short: it holds sockets
    mark = uuid.uuid4().hex
    port, client_port = free_ports(2)
    address = f"127.0.0.1:{port}"
    config = folder / "cluster.json"
    config.write_text(json.dumps(_config(address, most, idle_minutes, min_workers)))
    changes = {
        _MARK: mark,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "OUTLIVE_ROOT": ROOT,
        "OUTLIVE_SPILL_TO": SPILL,
        "RAY_AUTH_MODE": "disabled",
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_FAKE_CLUSTER": "1",
        "RAY_NODE_TYPE_NAME": "ray.head.default",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "RAY_enable_autoscaler_v2": str(version - 1),
        **environment,
    }
    options = {
        "--autoscaling-config": config,
        "--dashboard-agent-listen-port": 0,
        "--include-dashboard": "false",
        "--max-worker-port": 0,
        "--min-worker-port": 0,
        "--node-ip-address": "127.0.0.1",
        "--num-cpus": 0,
        "--object-store-memory": STORE,
        "--port": port,
        "--ray-client-server-port": client_port,
        "--temp-dir": folder / "ray",
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--disable-usage-stats"]
    command += [f"{name}={value}" for name, value in options.items()]
    try:
        started = subprocess.run(command, env={**os.environ, **changes}, capture_output=True, text=True, timeout=90)
        assert started.returncode == 0, started.stdout + started.stderr
        ray.init(address, log_to_driver=False, logging_level="ERROR")
        yield address
    finally:
        ray.shutdown()
        _end(mark)
        shutil.rmtree(folder, ignore_errors=True)


def workers() -> list[Node]:
    """The worker nodes that are alive."""
    return [node for node in nodes() if node.alive and not node.is_head]


def _config(address: str, most: int, idle_minutes: float, min_workers: int) -> dict[str, object]:
    provider = {
        "type": "external",  # autoscaler v2 would look for defaults of "fake_multinode" in a file that the wheel lacks
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "gcs_address": address,
        "head_node_id": HEAD,
        "launch_multiple": True,
    }
    head = {"CPU": 0, "object_store_memory": STORE}
    small = {"CPU": 1, "object_store_memory": STORE}
    return {
        "cluster_name": "fake",
        "max_workers": most,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": idle_minutes,
        "provider": provider,
        "available_node_types": {
            "ray.head.default": {"node_config": {}, "min_workers": 0, "max_workers": 0, "resources": head},
            "small": {"node_config": {}, "min_workers": min_workers, "max_workers": most, "resources": small},
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{name}_commands": [] for name in _UNUSED},
    }


def _end(mark: str) -> None:
    """Kill the cluster's processes, the monitor first: it would start nodes anew."""

    def kill() -> bool:
        ours = _processes(mark)
        for process in sorted(ours, key=lambda process: "monitor.py" not in _command(process)):
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(ours, timeout=10)
        return not ours

    eventually(kill)


def _processes(mark: str) -> list[psutil.Process]:
    """Those with the mark, and their children: a worker's title overwrites what can be seen of its environment."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark:
                for one in (process, *process.children(recursive=True)):
                    found[one.pid] = one
        except psutil.Error:
            continue
    return [process for process in found.values() if process.pid != os.getpid() and _command(process)]


def _command(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.Error:
        return ""
