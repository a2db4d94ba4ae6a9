"""Every kind of call, while all idle workers of the cluster are let go again and again: nothing goes wrong.

20 seconds, or `pytest --beside-trim 600`: by trim, and by a guard.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import ray

from outlive.workers import Policy, guard, guard_log, guard_state, stop_guard
from tests.cluster.conftest import start_ray
from tests.workers.calls import Calls

SECONDS = 20.0

ENDED = """
import os, sys
import ray

ray.init(address=sys.argv[1], namespace="ended", log_to_driver=False, logging_level="ERROR")

@ray.remote(max_retries=0)
def pid():
    return os.getpid()

@ray.remote(num_cpus=0, max_restarts=0)
class Root:
    def run(self):
        return ray.get(pid.remote())

roots = [Root.options(name=name, lifetime="detached").remote() for name in sys.argv[2:]]
ray.get([root.run.remote() for root in roots])
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Four CPUs and a GPU; Ray's own reaper is off, so that only trim lets workers go."""
    start_ray(4, num_gpus=1, _system_config={"kill_idle_workers_interval_ms": 0})
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


def ended_job(address: str, *names: str) -> list[ray.actor.ActorHandle]:
    """A job that has ended; its detached actors, which go on and run tasks."""
    subprocess.run([sys.executable, "-c", ENDED, address, *names], check=True, timeout=120)
    return [ray.get_actor(name, namespace="ended") for name in names]


def test_every_kind_of_call_beside_trim(address, tmp_path, request):
    seconds = request.config.getoption("--beside-trim") or SECONDS
    calls = Calls(tmp_path, ended_job(address, "one") + ended_job(address, "two", "three"))
    report = tmp_path / "trimmed.json"
    trimmer = subprocess.Popen(
        [sys.executable, "-m", "tests.workers.trimmer", address, report], stdin=subprocess.PIPE, stdout=sys.stderr
    )
    try:
        calls.run(seconds)
    finally:
        trimmer.communicate(timeout=60)
        calls.stop()
    done = json.loads(report.read_text())
    print(f"\n{calls.made.total()} calls in {seconds:.0f} s: {dict(calls.made)}\ntrim: {done}")
    assert calls.wrong == []
    assert done["errors"] == {}
    assert done["outcomes"]["left"] >= calls.made["round"], "trim had nothing to do: the test proves nothing"


def test_every_kind_of_call_beside_a_guard(address, tmp_path, request):
    seconds = request.config.getoption("--beside-trim") or SECONDS
    calls = Calls(tmp_path, ended_job(address, "four") + ended_job(address, "five", "six"))
    guard(Policy(max_idle=0, every="150ms", cpu_share=1.0))
    try:
        calls.run(seconds)
    finally:
        stop_guard()
        calls.stop()
    done = guard_state()
    print(f"\n{calls.made.total()} calls in {seconds:.0f} s: {dict(calls.made)}\nguard: {done}")
    assert calls.wrong == []
    assert done.failed_looks == 0, guard_log()
    assert done.let_go >= calls.made["round"], "the guard had nothing to do: the test proves nothing"
