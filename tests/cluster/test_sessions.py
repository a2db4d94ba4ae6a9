"""How programs come to a cluster, leave it, and what becomes of their arrays then."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

import outlive
from tests.cluster.conftest import actor_pids, start_ray
from tests.conftest import ROOT, eventually


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, timeout=180, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One for the tests at the end of this file: a program looks for a cluster here, and finds it."""
    ray.shutdown()  # of a test that failed
    start_ray(2)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    if ray.is_initialized():
        outlive.shutdown()


LITTLE = "from tests.little_ray import start_little; start_little()"
LOCAL = """
import sys, numpy as np, outlive
store = outlive.open()
store["k"] = np.ones(100_000)
print(outlive.open().stats().shelves[0].path, flush=True)
if sys.argv[1] == "wait":
    sys.stdin.read()
"""


def test_without_a_cluster_one_is_started_and_ends_with_the_program() -> None:
    done = run(LOCAL, "end")
    assert done.returncode == 0, done.stderr
    shelf = Path(next(word for word in done.stdout.split() if word.startswith(ROOT)))  # Ray may print lines too
    assert not shelf.exists()


def test_programs_that_start_at_once_leave_each_other_alone() -> None:
    """Each clears away what dead programs left; none may take one that just starts for dead."""
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", LOCAL, "end"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for program in programs:
        _, complaints = program.communicate(timeout=180)
        assert program.returncode == 0, complaints


def test_with_token_authentication() -> None:
    """Ray's default since 2.59."""
    program = LOCAL + "\nassert store['k'].sum() == 100_000"
    done = run(program, "end", RAY_AUTH_MODE="token")
    assert done.returncode == 0, done.stderr


def test_one_program_two_clusters() -> None:
    start_ray(1)
    store = outlive.open()
    store["k"] = np.ones(3)
    outlive.shutdown()
    ray.shutdown()
    with pytest.raises(outlive.StoreUnavailable, match="not connected"):
        store.get("k")
    start_ray(1)
    assert store.get("k") is None
    store["k"] = np.zeros(3)
    assert store["k"].sum() == 0
    outlive.shutdown()
    ray.shutdown()


# With `local_ray`. Those above come first, as they need that there is no cluster here.


def test_a_killed_program_leaves_its_arrays_to_the_next_one_to_clear(request: pytest.FixtureRequest) -> None:
    program = [sys.executable, "-c", LITTLE + LOCAL, "wait"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    shelf = Path(next(line for line in iter(process.stdout.readline, b"") if ROOT.encode() in line).decode().strip())
    assert shelf.exists()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    request.getfixturevalue("local_ray")
    outlive.open()
    eventually(lambda: not shelf.exists())


def test_address_of_the_environment(local_ray: None) -> None:
    store = outlive.open("here")
    store["k"] = np.arange(4)
    address = ray.get_runtime_context().gcs_address
    done = run("import outlive; print(outlive.open('here')['k'].sum())", RAY_ADDRESS=address)
    assert done.stdout.strip().endswith("6"), done.stderr


def test_shutdown_frees_all_and_open_starts_anew(local_ray: None) -> None:
    store = outlive.open()
    handle = store.put(np.ones(1 << 16), key="k")
    view = handle.get()
    pids = set(actor_pids().values())
    shelf = Path(store.stats().shelves[0].path)
    assert outlive.shutdown() > 1 << 19
    eventually(lambda: not pids & set(actor_pids().values()))
    assert not shelf.exists()
    assert view.sum() == 1 << 16
    del view
    assert len(outlive.open()) == 0
    with pytest.raises(outlive.ArrayNotFound):
        handle.get()


def test_a_store_that_another_program_shut_down(local_ray: None) -> None:
    store = outlive.open()
    store["k"] = np.ones(3)
    address = ray.get_runtime_context().gcs_address
    done = run(f"import outlive; outlive.open(address={address!r}); print(outlive.shutdown())")
    assert done.returncode == 0, done.stderr
    with pytest.raises(outlive.StoreUnavailable, match="shut down"):
        store.put(np.ones(3))
    assert store.put(np.ones(3)).get().sum() == 3  # started anew
    done = run(f"import outlive; outlive.open(address={address!r}); print(outlive.shutdown())")
    assert done.returncode == 0, done.stderr
    with pytest.raises(outlive.StoreUnavailable, match="shut down"):
        store.get("k")
    assert store.get("k") is None
    run(f"import outlive; outlive.open(address={address!r}); print(outlive.shutdown())")
    assert outlive.open().get("k") is None


def test_a_shelf_that_somebody_removed(local_ray: None) -> None:
    """All arrays are gone; what comes after is stored, and nothing hangs."""
    store = outlive.open()
    store["k"] = np.ones(3)
    shelf, keeper = Path(store.stats().shelves[0].path), actor_pids()["Keeper"]
    shutil.rmtree(shelf)
    eventually(lambda: actor_pids().get("Keeper") not in (None, keeper))
    with pytest.raises(outlive.StoreUnavailable, match="shut down"):
        store["l"] = np.ones(3)
    store["l"] = np.zeros(3)
    assert store["l"].tolist() == [0, 0, 0]
    assert list(store) == ["l"]
    assert store.get("k") is None
    assert store.check() == []


def test_a_root_that_others_may_enter(local_ray: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    open_to_all = tmp_path / "root"
    open_to_all.mkdir(mode=0o755)
    monkeypatch.setenv("OUTLIVE_ROOT", str(open_to_all))
    with pytest.raises(outlive.UnsafeRoot, match="chmod 700"):
        outlive.open()


def test_different_roots_are_refused(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLIVE_ROOT", f"{ROOT}-other")
    with pytest.raises(outlive.StoreUnavailable, match="OUTLIVE_ROOT"):
        outlive.open()
    monkeypatch.undo()
    assert not Path(f"{ROOT}-other").exists()
    assert outlive.open().get("k") is None
