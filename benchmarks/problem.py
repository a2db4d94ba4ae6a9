"""What Ray does to arrays and workers, and what becomes of the same programs with outlive: the README's first table.

    python -m benchmarks.problem

Each row is run once on each side, in a private local Ray with four CPUs; nothing in it is assumed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

import outlive

ARRAY = np.ones(1 << 17)
PATIENCE = 60.0  # seconds


class RayPut:
    """Keeps arrays as Ray offers it: nested refs."""

    name = "ray.put"

    def put(self, array: Any) -> Any:
        return [ray.put(array)]

    def get(self, kept: Any) -> Any:
        return ray.get(kept[0], timeout=PATIENCE)


class Outlive:
    """Keeps them as files."""

    name = "outlive"

    def put(self, array: Any) -> Any:
        return outlive.open().put(array)

    def get(self, kept: Any) -> Any:
        return kept.get()


def workers() -> dict[int, int]:
    """Pid and unique memory in MiB of this Ray's workers, actors of the store left out."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            title = (process.cmdline() or [""])[0]
            if title.startswith("ray::") and not any(w in title for w in ("Agent", "Keeper", "Catalog")):
                found[process.pid] = process.memory_full_info().uss >> 20
        except psutil.Error:
            continue
    return found


def settled(seconds: float = 4) -> dict[int, int]:
    """The workers, once none has come or gone for a while."""
    since, last = time.monotonic(), workers()
    while time.monotonic() < since + seconds:
        time.sleep(0.25)
        if (now := workers()).keys() != last.keys():
            since, last = time.monotonic(), now
    return workers()


def spent_workers(side: Any) -> str:
    @ray.remote(max_calls=2)
    def task(seed: int) -> tuple[int, Any]:
        import builtins

        builtins.leak = [*getattr(builtins, "leak", []), np.ones(10 << 20)]  # type: ignore[attr-defined]
        return os.getpid(), side.put(ARRAY * seed)

    made = ray.get([task.remote(seed) for seed in range(8)])
    spent = {pid for pid, calls in Counter(pid for pid, _ in made).items() if calls == 2}
    left = {pid: uss for pid, uss in settled().items() if pid in spent}
    return f"{len(left)} of {len(spent)} spent workers stay, {sum(left.values())} MiB"


def eager_reaper(side: Any) -> str:
    @ray.remote
    def task(seed: int) -> Any:
        time.sleep(0.5)  # long enough for four workers to start
        return side.put(ARRAY * seed)

    kept = ray.get([task.remote(seed) for seed in range(4)])
    left = settled()
    return f"{len(left)} idle workers stay" + ("" if len(kept) == 4 else "?")


def killed_owner(side: Any) -> str:
    @ray.remote(max_calls=1)
    def task() -> tuple[int, Any]:
        return os.getpid(), side.put(ARRAY)

    made = [ray.get(task.remote()) for _ in range(3)]
    settled()
    for pid, _ in made:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has left by itself
    settled()
    return outcome(side.get, [kept for _, kept in made])


def dying_relay(side: Any) -> str:
    @ray.remote(num_cpus=0)
    class Holder:
        def __init__(self) -> None:
            self.kept: Any = None

        def hold(self, kept: Any) -> None:
            self.kept = kept

        def read(self) -> int:
            return len(side.get(self.kept))

    @ray.remote
    class Maker:
        def make(self) -> Any:
            self.kept = side.put(ARRAY)
            return self.kept

        def let_go(self) -> None:
            self.kept = None

    @ray.remote(max_retries=0)
    def relay(holder: Any, kept: Any) -> None:
        holder.hold.remote(kept)
        time.sleep(0.05)
        os._exit(1)

    def read(holder: Any) -> Any:
        return ray.get(holder.read.remote(), timeout=PATIENCE)

    holders, makers = [Holder.remote() for _ in range(3)], [Maker.remote() for _ in range(3)]
    for holder, maker in zip(holders, makers, strict=True):
        try:
            ray.get(relay.remote(holder, maker.make.remote()))
        except ray.exceptions.WorkerCrashedError:
            ray.get(maker.let_go.remote())
    settled()
    return outcome(read, holders)


def outcome(read: Callable[[Any], Any], things: list[Any]) -> str:
    errors = Counter[str]()
    for thing in things:
        try:
            read(thing)
        except Exception as error:
            errors[type(getattr(error, "cause", None) or error).__name__] += 1
    if not errors:
        return f"{len(things)} of {len(things)} arrays readable"
    return ", ".join(f"`{name}`, {count} of {len(things)}" for name, count in errors.items())


ROWS: dict[str, tuple[Callable[[Any], str], dict[str, Any]]] = {
    "`max_calls=2` tasks leak, and keep their arrays": (spent_workers, {}),
    "the idle reaper at its most eager (`num_workers_soft_limit=0`)": (eager_reaper, {"num_workers_soft_limit": 0}),
    "the workers that made three arrays are killed": (killed_owner, {}),
    "three arrays are handed on through a worker that dies": (dying_relay, {}),
}


def main() -> int:
    rows: dict[str, dict[str, str]] = {}
    for title, (measure, config) in ROWS.items():
        rows[title] = {}
        for side in (RayPut(), Outlive()):
            print(f"{side.name}: {title}", file=sys.stderr)
            ray.init(
                address="local", num_cpus=4, object_store_memory=300 << 20, include_dashboard=False,
                log_to_driver=False, logging_level="ERROR", _system_config=config or None,
            )  # fmt: skip
            try:
                outlive.open()
                rows[title][side.name] = measure(side)
                outlive.shutdown()
            finally:
                ray.shutdown()
    print(f"Ray {ray.__version__}\n\n| the program | with `ray.put` | with outlive |\n|---|---|---|")
    for title, row in rows.items():
        print(f"| {title} | {row['ray.put']} | {row['outlive']} |")
    results = Path(__file__).parent / "results" / "problem.json"
    results.write_text(json.dumps({"ray": ray.__version__, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    os.environ["RAY_IGNORE_UNHANDLED_ERRORS"] = "1"
    sys.exit(main())
