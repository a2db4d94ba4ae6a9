"""Short tasks without retries, nested ones, owners, an actor, while idle workers are let go: nothing is lost.

`OUTLIVE_TRIM_TASKS=5000 pytest tests/workers/test_harmless.py` runs more tasks than the default of 1,500; CI runs 800.
`OUTLIVE_GUARD_MINUTES=60 pytest -s tests/workers/test_harmless.py -k a_guard` does so for an hour beside a guard.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import ray

from outlive.workers import Policy, guard, guard_state, inspect, keep_trim, recycle, stop_guard
from tests.conftest import eventually
from tests.workers import load
from tests.workers.conftest import local_ray
from tests.workers.tormented_guard import TormentedGuard

TASKS = int(os.environ.get("OUTLIVE_TRIM_TASKS", "1500"))
MINUTES = float(os.environ.get("OUTLIVE_GUARD_MINUTES", "0.1"))


@pytest.fixture(scope="module", autouse=True)
def address() -> Iterator[str]:
    """Ray's own reaper is off: only trim lets workers go."""
    with local_ray(4, kill_idle_workers_interval_ms=0) as address:
        yield address


def idle():
    """Idle workers that could be let go."""
    return [worker for worker in inspect().workers if worker.retirable]


@pytest.mark.parametrize("tasks", [400, TASKS], ids=["few", "many"])
def test_no_task_fails_and_no_object_is_lost_while_trim_runs(tasks):
    with keep_trim(max_idle=1, every="200ms") as trimmer:
        assert load.run(tasks) == []
        eventually(lambda: len(idle()) <= 1)  # the bound holds, reaper or not
        retired = trimmer.retired
    assert retired >= 5, "trim had nothing to do: the test proves nothing"


@pytest.mark.timeout(600 + 120 * MINUTES)
def test_the_same_with_a_guard_that_is_tormented(address):
    """At least a round of torment, however slow the machine is."""
    done: Counter[str] = Counter()
    wrong: list[str] = []
    began, told = time.monotonic(), 0
    with TormentedGuard(address) as guard:
        while (time.monotonic() - began < 60 * MINUTES or not guard.rounds) and not wrong and not guard.errors:
            wrong += load.run(400, seed=done["runs"], done=done)
            done["runs"] += 1
            if (minutes := int(time.monotonic() - began) // 60) > told:
                told = minutes
                print(f"\n{minutes} min: {dict(done)}, wrong: {wrong}; {guard.told()}", flush=True)
    state = guard_state()
    print(f"\n{time.monotonic() - began:.0f} s: {dict(done)}, wrong: {wrong}; {guard.told()}")
    assert guard.errors == []
    assert wrong == []
    assert state.let_go >= 5, "the guard had nothing to do: the test proves nothing"
    assert state.restarts >= 1


def test_a_guard_keeps_its_bound():
    guard(Policy(max_idle=1, every="200ms", cpu_share=1.0))
    try:
        assert load.run(400, seed=2) == []
        eventually(lambda: len(idle()) <= 1, seconds=200)  # one that stayed is asked again after a minute, then two
    finally:
        stop_guard()
    assert guard_state().let_go >= 5, "the guard had nothing to do: the test proves nothing"


def test_the_same_with_recycle(tmp_path):
    pids = str(tmp_path)
    leak = 3 * 4 * (80 << 20) // TASKS  # some three workers for each CPU, one after the other

    @recycle(max_memory="140MiB")
    @ray.remote(max_retries=0)
    def leaky(number):
        import builtins
        import os
        from pathlib import Path

        Path(pids, str(os.getpid())).touch()
        builtins.leak = [*getattr(builtins, "leak", []), np.ones(leak >> 3)]
        return number

    assert load.run(TASKS, remote=leaky, seed=1) == []
    report = inspect()
    ran = {int(path.name) for path in tmp_path.iterdir()}
    assert ran - {worker.pid for worker in report.workers}, "no worker was recycled: the test proves nothing"
    assert all(worker.unique < 160 << 20 for worker in report.workers if worker.unique is not None)


def test_of_the_test_sigterm_instead_of_trim_is_noticed():
    wrong: list[str] = []
    with load.Sigterm(every=0.2):
        for seed in range(20):
            wrong += load.run(300, seed=seed)
            if wrong:
                break
    assert wrong
