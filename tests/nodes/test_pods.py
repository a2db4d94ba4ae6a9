"""The life of a pod of Kubernetes, played by processes: its hook, SIGTERM, grace and SIGKILL, and a host's /dev/shm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.autoscaler.v2.sdk import get_cluster_status

import outlive
from outlive.arrays.clock import uptime
from outlive.arrays.root import names_in
from tests.conftest import eventually
from tests.nodes.pods import APART, Pod, Pods, needs_pods, pods

pytestmark = needs_pods
HOOK = (sys.executable, "-m", "outlive", "drain", "--ending-in", "100s", "--json")  # as in examples/kubernetes
MANY, SIZE = 60, 4 << 20  # arrays, and bytes of each
SILENT = 200 * 10**9  # nanoseconds after which a keeper that nobody can see counts as dead


@pytest.fixture(scope="module")
def cluster() -> Iterator[Pods]:
    with pods() as made:
        made.start_head(monitor=True)
        yield made


def array(number: int) -> np.ndarray:
    return np.random.default_rng([abs(number), number < 0]).integers(0, 256, SIZE, dtype="uint8")


def put(numbers: list[int]) -> tuple[str, list[outlive.ArrayHandle]]:
    """Put an array with a key and one without for each number; the node, and handles of both."""
    store = outlive.open("pods")
    handles = [store.put(array(number), f"{number}") for number in numbers]
    handles += [store.put(array(-number), lifetime="detached") for number in numbers]
    return ray.get_runtime_context().get_node_id(), handles


def look(numbers: list[int], handles: list[outlive.ArrayHandle]) -> dict[str, list[str]]:
    """What is right, wrong or lost."""
    store, found = outlive.open("pods"), dict[str, list[str]]()
    ways = [(f"{number}", lambda number=number: store[f"{number}"], number) for number in numbers]
    ways += [
        (f"{-number}", handle.get, -number) for handle, number in zip(handles[len(numbers) :], numbers, strict=True)
    ]
    for name, get, number in ways:
        try:
            verdict = "right" if get().tobytes() == array(number).tobytes() else "wrong"
        except (outlive.ArrayLost, outlive.ArrayNotFound) as error:
            verdict = type(error).__name__
        found.setdefault(verdict, []).append(name)
    found["lost"] = [lost.handle.key for lost in store.lost()]
    return found


def living() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def shelf_of(pod: Pod, node: str) -> Path:
    (found,) = pod.shm.glob(f"outlive/*/{node}")
    return found


def has_reported() -> bool:
    """Whether an autoscaler v2 has told the head of itself. Without a configuration it removes nothing."""
    return int(get_cluster_status(ray.get_runtime_context().gcs_address).stats.autoscaler_version) > 0


def roles() -> dict[str, str]:
    """The role of each node."""
    outlive.open("pods")
    return {row.id: row.role for row in outlive.nodes()}


@pytest.mark.timeout(900)
def test_a_pod_stays_where_nothing_scales(cluster: Pods) -> None:
    """KubeRay tells all pods their types in any case, and only the head's pod sees that its monitor scales nothing."""
    pod = cluster.start_worker()
    node, _ = pod.run(put, [0])
    eventually(lambda: cluster.head.run(has_reported))
    assert (pod.run(roles)[node], cluster.head.run(roles)[node]) == ("stays", "stays")
    assert json.loads(pod.exec(*HOOK).stdout)["stayed"] is None


@pytest.mark.timeout(900)
def test_a_pod_that_is_stopped_leaves_everything_behind(cluster: Pods) -> None:
    numbers = [1, 2, 3]
    pod = cluster.start_worker()
    node, handles = pod.run(put, numbers)
    hook = pod.exec(*HOOK)
    assert (hook.returncode, json.loads(hook.stdout)["stayed"]) == (0, None), hook.stderr
    assert json.loads(hook.stdout)["arrays"] == 2 * len(numbers)
    assert list(pod.shm.glob(f"outlive/*/{node}")) == []
    pod.terminate()
    eventually(lambda: not pod.runs)  # in its grace: nothing has to kill it
    head = cluster.head
    assert node not in head.run(living)
    names = [str(number) for number in (*numbers, *(-number for number in numbers))]
    assert head.run(look, numbers, handles) == {"right": names, "lost": []}
    environment = cluster.environment(pod.number)
    late = subprocess.run([*APART, *HOOK[:-1]], capture_output=True, text=True, env=environment, check=False)
    assert late.returncode == 2 and "no Ray cluster runs on this machine" in late.stderr  # none that is seen there


@pytest.mark.timeout(900)
def test_a_pod_that_is_killed_in_the_midst_of_its_drain_beside_one_that_shares_its_memory(cluster: Pods) -> None:
    """As with a hostPath at /dev/shm: the other pod adopts what is left, and nothing of its own is touched."""
    shared = cluster.folder_of(99)
    doomed, other = cluster.start_worker(shm=shared), cluster.start_worker(shm=shared)
    numbers, others = list(range(1000, 1000 + MANY)), [2000, 2001]
    node, handles = doomed.run(put, numbers)
    other_node, other_handles = other.run(put, others)
    shelf, other_shelf = shelf_of(doomed, node), shelf_of(other, other_node)
    before = sorted(names_in(f"{other_shelf}/mem"))
    at_first = len(names_in(f"{shelf}/mem"))

    hook = doomed.start_command(*HOOK)
    eventually(lambda: len(names_in(f"{shelf}/mem")) < at_first - 3 or hook.poll() is not None)
    doomed.kill()
    hook.wait(60)
    left = len(names_in(f"{shelf}/mem"))
    assert 0 < left < at_first  # or it was not in the midst
    assert set(before) <= set(names_in(f"{other_shelf}/mem"))

    eventually(lambda: node not in other.run(living), 120)
    then = uptime() - SILENT  # instead of three minutes
    os.utime(shelf / "keeper", ns=(then, then))
    eventually(lambda: not shelf.exists(), 180)  # keepers look once a minute
    names = [str(number) for number in (*numbers, *(-number for number in numbers))]
    eventually(lambda: cluster.head.run(look, numbers, handles) == {"right": names, "lost": []}, 120)
    assert other.run(look, others, other_handles)["right"] == ["2000", "2001", "-2000", "-2001"]
    assert set(before) <= set(names_in(f"{other_shelf}/mem"))
    assert other.runs
