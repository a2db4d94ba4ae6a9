"""Workers under OUTLIVE_FORKED are forked, live and end as Ray's own do, and start as those where nobody forks them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil
import pytest
import ray

from tests.cluster.conftest import start_ray
from tests.conftest import eventually


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
    def look(self) -> tuple[int, int, int, str | None]:
        return os.getpid(), os.getppid(), os.getpgrp(), os.environ.get("RAY_JOB_ID")


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
