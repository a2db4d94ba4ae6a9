"""A recording says what it has lost, holds none of its own work, and is not lost itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import ray

from outlive.cli.workers_simulate import _interrupted
from outlive.ray_internals import node_workers
from outlive.workers import Trace, record
from outlive.workers.trace import from_events
from tests.conftest import eventually
from tests.workers.conftest import local_ray

pytest.importorskip("pyarrow")
KEPT = 20


@pytest.fixture(scope="module", autouse=True)
def address() -> Iterator[str]:
    """A GCS that remembers few tasks."""
    with local_ray(2, task_events_max_num_task_in_gcs=KEPT) as where:
        yield where


@ray.remote
def nothing():
    return None


def test_what_ray_dropped_is_counted_and_told(tmp_path):
    refs = []

    def submit(done, total):
        if not refs:
            refs.extend(nothing.remote() for _ in range(5 * KEPT))

    def dropped():
        return node_workers.task_events_dropped() - before >= 4 * KEPT

    before = node_workers.task_events_dropped()
    trace = record(60, every=0.1, progress=submit, stopped=dropped)
    assert trace.lost >= 4 * KEPT
    trace.write(tmp_path / "trace.parquet")
    assert Trace.read(tmp_path / "trace.parquet").lost == trace.lost


def test_a_job_is_left_out():
    began = time.time()
    ray.get([nothing.remote() for _ in range(3)])
    job = ray.get_runtime_context().get_job_id()

    def tasks():
        return from_events(node_workers.task_events(), began, time.time())

    assert eventually(tasks)
    assert from_events(node_workers.task_events(), began, time.time(), job) == []


def command(address, output, **options):
    arguments = ["workers", "record", "-o", str(output), "--seconds", "600", "--address", address]
    return subprocess.Popen(
        [sys.executable, "-m", "outlive", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("kind", ["no folder", "a folder", "a link into nowhere"])
def test_a_file_that_cannot_be_written_is_found_before_the_recording(address, kind, tmp_path):
    output = {"no folder": tmp_path / "none" / "x", "a folder": tmp_path, "a link into nowhere": tmp_path / "link"}[
        kind
    ]
    if kind == "a link into nowhere":
        output.symlink_to(tmp_path / "none" / "x")
    arguments = ["workers", "record", "-o", str(output), "--seconds", "600", "--address", address]
    command = [sys.executable, "-m", "outlive", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)  # it would record for 600 s
    assert (done.stdout, done.stderr[:7], done.returncode) == ("", "error: ", 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_recording_and_not_the_command(number):
    before = signal.getsignal(number)
    with _interrupted() as stopped:
        os.kill(os.getpid(), number)
        assert stopped.wait(60)
    assert signal.getsignal(number) == before
