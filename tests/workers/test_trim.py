"""Trim lets the right workers go, says why others stay, and reaches workers of other jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import ray
from typer.testing import CliRunner

from outlive.cli.app import app
from outlive.errors import BadSetting
from outlive.workers import inspect, keep_trim, trim
from outlive.workers.bounds import Bounds, Candidate, bounds, choose
from tests.conftest import eventually

MIB = 1 << 20


@pytest.fixture(scope="module")
def unreaped_ray() -> Iterator[str]:
    """Four CPUs, one GPU that is none, and no reaper."""
    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=1,
        object_store_memory=100 * MIB,
        include_dashboard=False,
        log_to_driver=False,
        _system_config={"kill_idle_workers_interval_ms": 0},
    )
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


@ray.remote
def meet(path, number):
    """Returns once `number` of these run: so each has a worker of its own."""
    import os
    import time
    import uuid

    open(f"{path}/{uuid.uuid4().hex}", "w").close()
    while len(os.listdir(path)) < number:
        time.sleep(0.01)
    return os.getpid()


@ray.remote
def grow(size):
    import builtins

    builtins.grown = np.ones(size >> 3)
    return os.getpid()


@ray.remote
def own():
    return os.getpid(), [ray.put(np.ones(1 << 17))]


def idle():
    return [worker for worker in inspect().workers if worker.state == "idle"]


def idle_workers(tmp_path, number):
    """Make sure that so many are idle."""
    pids = ray.get([meet.remote(str(tmp_path), number) for _ in range(number)])
    eventually(lambda: set(pids) <= {worker.pid for worker in idle()})
    return pids


def test_the_largest_leave_and_owners_are_spared(unreaped_ray, tmp_path):
    idle_workers(tmp_path, 4)
    big = ray.get(grow.remote(200 * MIB))
    eventually(lambda: big in {worker.pid for worker in idle() if worker.unique > 200 * MIB})
    result = trim(max_memory="150MiB")
    assert [(choice.worker.pid, choice.outcome) for choice in result.chosen] == [(big, "left")]
    assert result.freed > 200 * MIB
    eventually(lambda: big not in {worker.pid for worker in inspect().workers})
    pid, refs = ray.get(own.remote())
    eventually(lambda: pid in {worker.pid for worker in idle() if worker.owned})
    result = trim(max_idle=0)
    assert all(choice.left for choice in result.chosen)
    assert pid in {worker.pid for worker in result.spared}
    eventually(lambda: [worker.pid for worker in idle()] == [pid])
    assert ray.get(refs[0]).shape == (1 << 17,)
    assert ray.get(own.remote())[0] > 0  # the pool still works


def test_dry_run_touches_nothing(unreaped_ray, tmp_path):
    pids = idle_workers(tmp_path, 3)
    result = trim(max_idle=0, dry_run=True)
    assert set(pids) <= {choice.worker.pid for choice in result.chosen}
    assert {choice.outcome for choice in result.chosen} == {"would leave"}
    assert set(pids) <= {worker.pid for worker in idle()}


def test_min_idle_stay(unreaped_ray, tmp_path):
    idle_workers(tmp_path, 4)
    trim(max_memory=1, min_idle=2)
    eventually(lambda: len(idle()) == 2)


def test_workers_that_served_gpu_tasks_leave_too(unreaped_ray):
    @ray.remote(num_gpus=0.5, max_calls=0)
    def on_gpu():
        return os.getpid()

    pid = ray.get(on_gpu.remote())
    eventually(lambda: pid in {worker.pid for worker in idle() if worker.idle_for is not None})
    trim(max_idle=0)
    eventually(lambda: pid not in {worker.pid for worker in inspect().workers})


def test_the_command_reaches_the_workers_of_another_job(unreaped_ray, tmp_path):
    pids = idle_workers(tmp_path, 3)
    command = [
        sys.executable,
        "-m",
        "outlive",
        "workers",
        "trim",
        "--address",
        unreaped_ray,
        "--max-idle",
        "0",
        "--json",
    ]
    dry = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    assert set(pids) <= {choice["worker"]["pid"] for choice in dry["chosen"]}
    assert set(pids) <= {worker.pid for worker in idle()}
    done = json.loads(subprocess.run([*command, "--yes"], check=True, capture_output=True, timeout=120).stdout)
    assert {choice["outcome"] for choice in done["chosen"]} == {"left"}
    eventually(lambda: not set(pids) & {worker.pid for worker in inspect().workers})


def test_what_the_command_says(unreaped_ray, tmp_path):
    idle_workers(tmp_path, 2)
    result = CliRunner().invoke(app, ["workers", "trim", "--address", unreaped_ray, "--max-idle", "0"])
    assert result.exit_code == 0, result.stderr
    assert "would leave" in result.stdout
    assert "add --yes" in result.stdout
    for wrong in (["trim"], ["trim", "--max-idle", "1", "--min-idle", "2"], ["trim", "--max-memory", "lots"]):
        result = CliRunner().invoke(app, ["workers", *wrong, "--address", unreaped_ray])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: ")


def test_keep_trim_keeps_workers_warm(unreaped_ray):
    eventually(lambda: not trim(max_idle=0).chosen)
    with keep_trim(min_idle=2, max_idle=2, every="100ms"):
        eventually(lambda: len(idle()) == 2, seconds=30)
        assert [worker.why for worker in idle() if not worker.retirable] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to keep"),
        ({"max_idle": 1, "min_idle": 2}, "below min_idle"),
        ({"max_memory": "-3"}, "not a size"),
        ({"max_idle": 1, "every": "1ms"}, "too often"),
        ({"max_idle": 1, "every": "soon"}, "no length of time"),
        ({"max_idle": -1}, "0 or more"),
    ],
)
def test_bad_bounds(unreaped_ray, options, message):
    with pytest.raises(BadSetting, match=message):
        keep_trim(**options)


SIZES = [Candidate("small", 10), Candidate("large", 90), Candidate("middle", 50), Candidate("unknown", None)]


@pytest.mark.parametrize(
    ("limits", "others", "expected"),
    [
        (Bounds(max_idle=2), 0, ["large", "middle"]),
        (Bounds(max_idle=2), 1, ["large", "middle", "small"]),  # one that must stay counts
        (Bounds(max_idle=0), 0, ["large", "middle", "small", "unknown"]),
        (Bounds(max_idle=0, min_idle=3), 0, ["large"]),
        (Bounds(max_memory=40), 0, ["large", "middle"]),
        (Bounds(max_memory=40, min_idle=3), 0, ["large"]),
        (Bounds(max_memory=40, max_idle=1), 0, ["large", "middle", "small"]),
        (Bounds(max_idle=9), 0, []),
    ],
)
def test_whom_the_bounds_choose(limits, others, expected):
    assert [one.worker_id for one, _ in choose(SIZES, len(SIZES) + others, limits)] == expected


def test_sizes():
    assert bounds(max_memory="1.5GiB").max_memory == 3 << 29
    assert bounds(max_memory=2000).max_memory == 2000
