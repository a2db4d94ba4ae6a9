"""Arrays that end on time, and say when and why they did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import ray

import outlive
from tests.conftest import eventually

DRIVER = """
import pickle, sys, numpy as np, outlive
store = outlive.open(sys.argv[1], address=sys.argv[2])
handles = [
    store.put(np.ones(100_000)), store.put(np.ones(3), lifetime="detached"),
    store.put(np.ones(3), key="job", lifetime="job"), store.put(np.ones(3), key="kept"),
]
scope = store.scope()
tmp = scope.__enter__()
tmp["scoped"] = np.ones(3)
print(pickle.dumps(handles).hex(), flush=True)
sys.stdin.readline()
if sys.argv[3] == "killed":
    import os
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["ends", "killed"])
def test_arrays_of_a_job_end_with_it(store: outlive.Store, cluster: str, how: str) -> None:
    import pickle

    arguments = [sys.executable, "-c", DRIVER, store.name, cluster, how]
    driver = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        lines = iter(driver.stdout.readline, "")
        line = next(line for line in lines if all(letter in "0123456789abcdef\n" for letter in line))
        own, detached, _, _ = pickle.loads(bytes.fromhex(line))
        assert own.get().sum() == 100_000
        assert sorted(store) == ["job", "kept", "scoped"]
        driver.communicate("\n", timeout=60)
    finally:
        driver.kill()
        driver.wait()
    eventually(lambda: sorted(store) == ["kept"])
    with pytest.raises(outlive.ArrayNotFound, match="it ended at 20.*the job that put it ended"):
        eventually(lambda: store["job"] is None)
    with pytest.raises(outlive.ArrayNotFound, match="the job that put it ended"):
        eventually(lambda: own.get() is None)
    with pytest.raises(KeyError, match="the scope it was put in ended"):
        store["scoped"]
    assert detached.get().sum() == store["kept"].sum() == 3
    store.delete(detached)
    assert store.check() == []


def test_time_to_live(store: outlive.Store) -> None:
    short = store.put(np.ones(3), key="short", ttl=0.5)
    long = store.put(np.ones(3), key="long", ttl="10min")
    unnamed = store.put(np.ones(100_000), ttl="0.5s")
    assert long.ttl == 600
    before = long.ends_at()
    assert before is not None
    eventually(lambda: sorted(store) == ["long"] and store.get("short") is None)  # until its file is gone it is read
    with pytest.raises(outlive.ArrayNotFound, match=r"it ended at 20.*its time to live was over.*touch"):
        store["short"]
    with pytest.raises(outlive.ArrayNotFound, match="its time to live was over"):
        eventually(lambda: unnamed.get() is None)
    with pytest.raises(outlive.ArrayNotFound, match="its time to live was over"):
        short.touch()
    long.touch()
    after = long.ends_at()
    assert after is not None
    assert after > before
    store["short"] = np.zeros(3)  # the key is free again
    assert store["short"].sum() == 0
    with pytest.raises(ValueError, match="without ttl="):
        store.handle("short").touch()


def test_many_and_created_arrays_have_lifetimes_too(store: outlive.Store) -> None:
    handles = store.put_many({"a": np.ones(3), "b": np.ones(3)}, ttl=0.5)
    with store.create(3, key="c", ttl=0.5) as out:
        out[:] = 1
    with store.create(3, lifetime="detached") as out:
        out[:] = 1
    assert {handle.ttl for handle in handles.values()} == {0.5}
    eventually(lambda: len(store) == 0)


def test_scope(store: outlive.Store) -> None:
    with pytest.raises(RuntimeError, match="stop"), store.scope() as tmp:  # noqa: PT012 - a user's block
        tmp["k"] = np.ones(3)
        handle = tmp.put(np.ones(100_000))
        assert handle.lifetime == "scope"
        assert ray.get(_put_through.remote(tmp)).get().sum() == 5
        store["result"] = tmp["k"] + tmp["by a task"][:3]
        raise RuntimeError("stop")
    assert sorted(store) == ["result"]
    with pytest.raises(outlive.ArrayNotFound, match="the scope it was put in ended"):
        store["by a task"]
    with pytest.raises(outlive.ArrayNotFound, match="the scope it was put in ended"):
        outlive.ArrayHandle(handle.info).get()
    assert store["result"].sum() == 6
    assert store.check() == []


@ray.remote
def _put_through(tmp: outlive.Store) -> outlive.ArrayHandle:
    return tmp.put(np.ones(5), key="by a task")


def test_the_scope_of_a_worker_that_is_killed(store: outlive.Store) -> None:
    @ray.remote(max_retries=0)
    def put_and_die(store: outlive.Store) -> None:
        scope = store.scope()
        tmp = scope.__enter__()
        tmp["scoped"] = np.ones(100_000)
        store["kept"] = np.ones(3)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(put_and_die.remote(store))
    eventually(lambda: sorted(store) == ["kept"])
    assert store.stats().arrays == 1


@pytest.mark.parametrize(
    ("wrong", "says"), [({"ttl": "soon"}, "10min"), ({"ttl": -1}, "10min"), ({"lifetime": "task"}, "'job'")]
)
def test_wrong_lifetimes(store: outlive.Store, wrong: dict[str, object], says: str) -> None:
    for put in (store.put, lambda array, **more: store.put_many({"k": array}, **more)):
        with pytest.raises(ValueError, match=says):
            put(np.ones(3), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=says):
        store.create(3, **wrong)  # type: ignore[arg-type]
    assert len(store) == 0
