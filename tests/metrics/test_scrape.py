"""A real Ray with its metrics agent: what Prometheus gets from its endpoint. Needs the packages of ray[default]."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import urllib.request
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
import ray

import outlive
from outlive.metrics.table import METRICS
from tests.cluster.conftest import actor_pids, start_ray
from tests.conftest import eventually
from tests.little_ray import with_metrics
from tests.metrics.agent import PYTHON, lacking
from tests.ports import free_ports

_SERIES = re.compile(r"^(ray_outlive_\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
SELDOM = {"ray_outlive_shelf_free_inodes"}  # where the file system has a limit


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    if lacks := lacking():
        pytest.skip(f"Ray's metrics agent needs {lacks}: pip install 'ray[default]'")
    (port,) = free_ports(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTLIVE_METRICS", "1s")
        patch.setenv("OUTLIVE_METRICS_WORKERS", "1s")
        patch.setenv("RAY_metrics_report_interval_ms", "2000")  # Ray 2.60 forgets a gauge after two of these
        with with_metrics(PYTHON):
            start_ray(num_cpus=1, _metrics_export_port=port)
        try:
            yield f"http://127.0.0.1:{port}/metrics"
            outlive.shutdown()
        finally:
            ray.shutdown()


def scraped(endpoint: str) -> str:
    with contextlib.suppress(OSError), urllib.request.urlopen(endpoint, timeout=30) as page:
        return page.read().decode()
    return ""


def value(endpoint: str, name: str, **labels: str) -> float | None:
    """The sum of all series of a metric that have these labels; None if there is none."""
    found = [
        float(number)
        for series, text, number in _SERIES.findall(scraped(endpoint))
        if series == name and labels.items() <= dict(_LABEL.findall(text)).items()
    ]
    return sum(found) if found else None


def test_what_is_declared_arrives(endpoint):
    store = outlive.open("scraped", memory="64MiB")
    kept = store.put(np.zeros(1 << 17), key="a")
    view = store["a"]
    eventually(lambda: value(endpoint, "ray_outlive_puts_total") == 1, 120)
    eventually(lambda: value(endpoint, "ray_outlive_catalog_keys") == 1, 120)
    names = {metric.scraped for metric in METRICS} - SELDOM
    eventually(lambda: names <= {name for name, _, _ in _SERIES.findall(scraped(endpoint))}, 120)
    kinds = dict(re.findall(r"^# TYPE (ray_outlive_\w+) (\w+)$", scraped(endpoint), re.MULTILINE))
    assert {name: kind for name, kind in kinds.items() if "untyped" in kind} == {}
    for metric in METRICS:
        assert kinds.get(metric.scraped, metric.kind) == metric.kind
    assert value(endpoint, "ray_outlive_invariants_violated") == 0
    node = ray.get_runtime_context().get_node_id()[:8]
    assert value(endpoint, "ray_outlive_shelf_bytes", node=node, state="memory") >= kept.nbytes
    del store["a"]
    eventually(lambda: (value(endpoint, "ray_outlive_shelf_bytes", state="mapped") or 0) >= kept.nbytes, 120)
    assert view.sum() == 0


def test_a_keeper_that_is_killed_counts_on(endpoint):
    store = outlive.open("scraped")
    before = eventually(lambda: value(endpoint, "ray_outlive_puts_total"), 120)
    pid = actor_pids()["Keeper"]
    os.kill(pid, signal.SIGKILL)
    for number in range(5):
        store.put(np.zeros(number + 1))
    eventually(lambda: not psutil.pid_exists(pid))
    eventually(lambda: value(endpoint, "ray_outlive_puts_total") == before + 5, 120)


def test_without_its_agent_everything_goes_on(endpoint):
    store = outlive.open("scraped")
    (agent,) = [one for one in psutil.Process().children(recursive=True) if _is_agent(one)]
    agent.suspend()
    try:
        rounds = store.stats().shelves[0].keeper_pid
        store["b"] = np.ones(10)
        assert store["b"].sum() == 10
        assert store.stats().shelves[0].keeper_pid == rounds
    finally:
        agent.resume()
    eventually(lambda: value(endpoint, "ray_outlive_catalog_keys"), 120)


def _is_agent(process: psutil.Process) -> bool:
    """The raylet has all of the agent's command as one word. A newer agent has a name instead."""
    with contextlib.suppress(psutil.Error):
        return any(word == "ray::DashboardAgent" or word.endswith("dashboard/agent.py") for word in process.cmdline())
    return False
