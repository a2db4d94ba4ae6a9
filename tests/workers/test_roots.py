"""Trim holds workers that it does not want for a moment. They belong to the same detached actor afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import ray

from outlive.workers import trim
from tests.conftest import eventually
from tests.workers.conftest import local_ray, row, worker_when

DRIVER = """
import os, sys, time
from pathlib import Path
import ray

ray.init(address=sys.argv[1], namespace="roots", log_to_driver=False, logging_level="ERROR")
FOLDER = Path(sys.argv[2])

@ray.remote(max_retries=0)
def work(name, owns):
    pid = str(os.getpid())
    FOLDER.joinpath(name + ".new").write_text(pid)
    FOLDER.joinpath(name + ".new").rename(FOLDER / name)
    while not FOLDER.joinpath(name + ".end").exists():
        time.sleep(0.01)
    return [ray.put(bytes(1 << 20))] if owns else []

@ray.remote(num_cpus=0)
class Root:
    def start(self):
        self.box = work.remote("of the root", True)

    def finish(self):
        self.refs = ray.get(self.box)

    def read(self):
        return len(ray.get(self.refs[0]))

root = Root.options(name="root", lifetime="detached").remote()
ray.get(root.start.remote())
refs = ray.get([work.remote("owner", True), work.remote("plain", False)])
sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def address() -> Iterator[str]:
    """Ray's reaper runs, and takes only those whose job has ended."""
    with local_ray(4, idle_worker_killing_time_threshold_ms=600_000) as where:
        yield where


def test_an_owner_whose_detached_actor_lives_outlives_its_job_after_a_trim(address, tmp_path):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, address, tmp_path], stdin=subprocess.PIPE)
    names = ("owner", "plain", "of the root")  # in this order they become idle; trim meets the last one first
    try:
        for name in names:
            eventually((tmp_path / name).exists)
        pids = {name: int((tmp_path / name).read_text()) for name in names}
        root = ray.get_actor("root", namespace="roots")
        for name in names:
            (tmp_path / f"{name}.end").touch()
            if name == "of the root":
                ray.get(root.finish.remote())
            worker = worker_when(pids[name], lambda worker: worker.state == "idle")
        left = {choice.worker.pid: choice.outcome for choice in trim(max_idle=0, job=worker.job).chosen}
        assert left[pids["plain"]] == "left"
    finally:
        driver.communicate()
    eventually(lambda: row(pids["owner"]) is None)  # it ran for the driver: Ray forces it out
    assert row(pids["of the root"]) is not None
    assert ray.get(root.read.remote()) == 1 << 20
    ray.kill(root)
