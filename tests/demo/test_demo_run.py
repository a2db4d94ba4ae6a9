"""The whole demo, as users start it: what it prints, its exit code, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

DEADLINE = 200.0  # seconds, for a machine that does other things as well


@pytest.fixture
def root() -> Iterator[Path]:
    """A root for the arrays that also marks the demo's processes: all of them inherit OUTLIVE_ROOT."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix=f"outlive-test-{os.getpid()}-", dir=shared))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def start(root: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "outlive.demo", *map(str, arguments)]
    environment = {**os.environ, "OUTLIVE_ROOT": str(root), "RAY_AUTH_MODE": "disabled"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True)


def processes_of(root: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("OUTLIVE_ROOT") == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {process.cmdline()}")
        except psutil.Error:
            continue
    return found


def assert_nothing_stays(root: Path) -> None:
    deadline = time.monotonic() + 60
    while (left := processes_of(root)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []
    assert list(root.iterdir()) == []


def test_demo_shows_that_outlive_loses_nothing(root, tmp_path):
    process = start(root, "--tasks", 4, "--output", tmp_path / "out", "--json")
    printed, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, said
    document = json.loads(printed)
    kept, plain = document["sides"]["outlive"], document["sides"]["ray"]

    assert document["outlive_lost_nothing"] is True
    assert kept["lost"] == 0
    assert set(kept["readings"]) == {"work", "producer", "keeper", "catalog", "back"}
    for reading in kept["readings"].values():
        assert reading["identical"] == reading["arrays"] >= 4
        assert reading["errors"] == {}
    assert set(plain["readings"]) == {"work", "producer"}
    assert plain["readings"]["work"]["identical"] == 4
    for side in (kept, plain):
        assert len(side["puts"]) == 4
        assert side["put_total_seconds"] >= side["put_median_seconds"] > 0
        assert side["read_median_seconds"] > 0
        assert side["nbytes"] == plain["nbytes"] > 1 << 20
        assert side["killed"]
        assert "work done" in [event for _, event in side["events"]]
    assert kept["spent_left"] == 0
    assert kept["left"]["tending"] == 2
    assert document["conclusion"].startswith("With ray.put, ")
    assert document["skipped"] == []

    assert Path(document["chart"]).read_bytes().startswith(b"\x89PNG")
    samples = json.loads(Path(document["samples"]).read_text())["samples"]
    assert {process["role"] for sample in samples["outlive"] for process in sample["processes"]} == {
        "worker",
        "keeper",
        "catalog",
    }
    assert {process["role"] for sample in samples["ray"] for process in sample["processes"]} == {"worker"}
    assert_nothing_stays(root)


@pytest.mark.parametrize("moment", ["ray: starting a private Ray", "outlive: 0 of"])
def test_interrupt_ends_all(root, tmp_path, moment):
    process = start(root, "--tasks", 4, "--output", tmp_path / "out")
    assert process.stderr is not None
    lines = []
    for line in process.stderr:  # ends when the process does
        lines.append(line)
        if moment in line:
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the foreground
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, "".join(lines) + said
    assert "Traceback" not in said
    assert_nothing_stays(root)


def test_nothing_to_work_on_is_a_usage_error(root, tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "odd.npy", np.array(["text"]))
    process = start(root, "--input", tmp_path / "in", "--output", tmp_path / "out")
    printed, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert printed == ""
    assert "odd.npy" in said
    assert "Traceback" not in said


def test_output_that_cannot_be_made_is_a_usage_error(root, tmp_path):
    (tmp_path / "file").write_text("in the way")
    process = start(root, "--output", tmp_path / "file")
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert "error:" in said
    assert "Traceback" not in said
