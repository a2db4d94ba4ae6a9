"""ActorUnavailableError: called while the actor restarts, with no retry of the call allowed."""

from __future__ import annotations

import os
import signal

import ray


@ray.remote(num_cpus=0, max_restarts=1, max_task_retries=0)
class Counter:
    def pid(self) -> int:
        return os.getpid()

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def provoke() -> None:
    counter = Counter.remote()
    ray.get(counter.pid.remote())
    ray.get(counter.crash.remote(), timeout=60)


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False)
    provoke()
