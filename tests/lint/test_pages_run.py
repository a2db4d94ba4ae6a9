"""The programs on the rules' pages do on Ray what the pages say: the first fails, the second works.

Each is a job of its own, so that Ray clears away what the failing ones leave.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from tests.lint.pages import ALL, programs

TWO_RUNS = "OUT302"  # its programs are to be run twice
OWN_CLUSTER = {"OUT601", "OUT602"}  # its programs start one with settings of theirs
REMOVED = (2, 56)  # Ray's version that has no ray.put(_owner=) any more
VERSION = tuple(map(int, ray.__version__.split(".")[:2]))


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A local Ray whose reaper is at its most eager; its address."""
    ray.init(
        address="local",
        num_cpus=8,
        object_store_memory=100 << 20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _system_config={"num_workers_soft_limit": 0, "idle_worker_killing_time_threshold_ms": 200},
    )
    try:
        yield ray.get_runtime_context().gcs_address
        for name in ray.util.list_named_actors(all_namespaces=True):
            ray.kill(ray.get_actor(**name))
    finally:
        ray.shutdown()


def start(path: Path, code: str, address: str | None) -> subprocess.Popen[str]:
    path.write_text(code)
    runner = [Path(__file__).with_name("run_page.py")] if address else []
    environment = {**os.environ, "RAY_ADDRESS": address or "local"}
    return subprocess.Popen(
        [sys.executable, *runner, path], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("rule", ALL)
def test_pages(cluster, rule, tmp_path):
    printed = ["", ""]
    fails_here = rule != "OUT101" or VERSION >= REMOVED  # before, it fails in its own ways
    for _ in range(1 + (rule == TWO_RUNS)):
        running = [
            start(tmp_path / f"page{number}.py", program.code, None if rule in OWN_CLUSTER else cluster)
            for number, program in enumerate(programs(rule))
        ]
        for number, process in enumerate(running):
            out, err = process.communicate(timeout=100)
            printed[number] += "".join(line for line in out.splitlines(keepends=True) if "(raylet)" not in line)
            assert process.returncode == 0 or (number == 0 and not fails_here), err
    fails, works = programs(rule)
    if fails_here:
        assert printed[0] == fails.prints
    assert printed[1] == works.prints


def test_every_rule_has_a_page_and_every_page_a_rule():
    folder = Path(__file__).parents[2] / "docs" / "rules"
    assert sorted(path.stem for path in folder.glob("OUT*.md")) == sorted(ALL)
