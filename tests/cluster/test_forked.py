"""Workers under OUTLIVE_FORKED are forked, live and end as Ray's own do, and start as those where nobody forks them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
import ray

from tests.cluster.conftest import start_ray
from tests.conftest import eventually
from tests.little_ray import CAN_FORK

pytestmark = pytest.mark.skipif(not CAN_FORK, reason=f"workers of Ray {ray.__version__} are not forked")


@pytest.fixture
def raylet(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """The raylet of a Ray whose workers are forked."""
    monkeypatch.setenv("OUTLIVE_FORKED", "1")
    start_ray()
    try:
        (found,) = [process for process in psutil.Process().children() if process.name() == "raylet"]
        yield found
    finally:
        ray.shutdown()


@ray.remote(num_cpus=0)
class Actor:
    def look(self) -> tuple[int, int, int, str]:
        return os.getpid(), os.getppid(), os.getpgrp(), ray.get_runtime_context().get_job_id()


def test_workers_are_forked(raylet):
    actors = [Actor.remote() for _ in range(3)]
    seen = ray.get([actor.look.remote() for actor in actors])
    (parent,) = {parent for _, parent, _, _ in seen}
    assert psutil.Process(parent).ppid() == raylet.pid
    assert {(pid, job) for pid, _, _, job in seen} == {
        (group, ray.get_runtime_context().get_job_id()) for _, _, group, _ in seen
    }
    ray.kill(actors[0])  # and the raylet its process group
    eventually(lambda: not psutil.pid_exists(seen[0][0]))
    assert ray.get([actor.look.remote() for actor in actors[1:]]) == seen[1:]

    psutil.Process(parent).kill()
    own = Actor.remote()
    assert ray.get(own.look.remote())[1] == raylet.pid
    assert ray.get([actor.look.remote() for actor in actors[1:]])[0][0] == seen[1][0]
    ray.shutdown()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid, *_ in seen))


OF_ANOTHER_JOB = """
import os, ray
ray.init(log_to_driver=False, logging_level="ERROR")
look = ray.remote(num_cpus=0)(lambda: (os.getppid(), ray.get_runtime_context().get_job_id()))
print(*ray.get(look.remote(), timeout=60), ray.get_runtime_context().get_job_id())
"""


def test_workers_of_another_job_are_its_own(raylet):
    """Ray reads RAY_JOB_ID as it is imported. A worker of another job than it was started for is given no task."""
    actor = Actor.remote()
    _, here, _, job = ray.get(actor.look.remote())
    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    done = subprocess.run([sys.executable, "-c", OF_ANOTHER_JOB], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parent, of_worker, of_driver = done.stdout.split()
    assert int(parent) != here
    assert {psutil.Process(one).ppid() for one in (int(parent), here)} == {raylet.pid}
    assert of_worker == of_driver != job
